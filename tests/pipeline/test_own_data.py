"""`msinet init` makes experiments of a folder of pictures, says what it could not tell, and overwrites nothing."""

import os
from pathlib import Path

import pytest
from support.pictures import truncated_jpeg, write_tree

from msinet.data.readers import read
from pipeline.cli import main
from pipeline.config.load import load_experiment
from pipeline.own_data.recipes import WITHIN, Data, laptop_recipe, paper_recipe
from pipeline.plan.preflight import preflight
from pipeline.storage.workspace import Workspace

PICTURES = [f"cam{c}/{i:03}_{n}.jpg" for i in range(24) for c in (1, 2) for n in range(2)]


@pytest.fixture
def cars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of pictures under two cameras; experiments are written into the current folder."""
    write_tree(tmp_path / "my cars", PICTURES)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my cars"


def init(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["init", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_folder_becomes_experiments_that_can_run(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(cars, ["logo.png"])
    (cars / "cam1" / "notes.txt").write_text("")
    assert init(cars) == 0
    told = capsys.readouterr().out
    for part in ("{camera}/{identity}_*", "(logo.png)", "(cam1/notes.txt)", "every third identity", "queries", "next:"):
        assert part in told
    records = read("manifest", cars).records
    assert len(records) == len(PICTURES)
    assert sorted({(r.pid, r.camid) for r in records}) == [(i, c) for i in range(24) for c in (1, 2)]
    for name in ("my-cars.yaml", "my-cars-laptop.yaml"):
        experiment = load_experiment(Path(name))
        assert preflight(experiment, Workspace("workspace"), lambda line: None), "data, splits and batches fit"
        assert "# Estimate: about " in Path(name).read_text()
    assert "The paper's recipe takes about" in Path("my-cars-laptop.yaml").read_text()


def test_nothing_is_overwritten(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cars / "manifest.parquet").write_text("mine")
    assert init(cars, "--pattern", "{camera}/{identity}_*") == 2
    assert not list(Path().glob("*.yaml"))
    (cars / "manifest.parquet").unlink()
    Path("my-cars-laptop.yaml").write_text("mine")
    assert init(cars) == 2
    assert "my-cars-laptop.yaml exists" in capsys.readouterr().err
    assert not (cars / "manifest.csv").exists()
    assert not Path("my-cars.yaml").exists()
    assert Path("my-cars-laptop.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("files", "arguments", "sentence"),
    [
        (["readme.txt"], [], "must hold pictures"),
        (["north/12.jpg", "south/13.jpg"], [], "--pattern '{camera}/{identity}_*'"),
        (["north/12.jpg", "south/13.jpg"], ["--pattern", "{identity}-*"], "none does (north/12.jpg, south/13.jpg)"),
        (["north/12.jpg", "south/13.jpg"], ["--pattern", "{camera}/*"], "must have {identity}"),
        (["a/c1.jpg", "a/c2.jpg", "b/c1.jpg", "b/c2.jpg", "c/c1.jpg", "c/c2.jpg"], [], "4 training identities"),
        ([f"{i}/{n}.jpg" for i in "abcdefgh" for n in "12"], ["--name", "a b"], "a name must consist of"),
    ],
)
def test_what_cannot_be_told_ends_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[str], arguments: list[str], sentence: str
) -> None:
    write_tree(tmp_path / "mine", files)
    assert init(tmp_path / "mine", "--out", tmp_path, *arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.splitlines()) == 1
    assert not list(tmp_path.glob("*.yaml"))


def test_a_known_layout_needs_no_manifest_and_damaged_pictures_are_named(
    cars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ("bounding_box_train", "bounding_box_test", "query")
    market = cars.parent / "market"
    write_tree(market, [f"{folder}/{i:04}_c{c}.jpg" for folder in folders for i in range(1, 25) for c in (1, 2)])
    (market / "query" / "0001_c1.jpg").write_bytes(truncated_jpeg(1))
    assert init(market) == 0
    told = capsys.readouterr().out
    assert "layout market1501" in told
    assert "damaged: an image must decode completely, but query/0001_c1.jpg" in told
    assert not (market / "manifest.csv").exists()
    assert load_experiment(Path("market.yaml")).training_size("market") == (256, 128)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_told(cars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cars.chmod(0o555)
    assert init(cars) == 2
    assert "ln -s" in capsys.readouterr().err


def test_the_laptop_recipe_takes_the_largest_pictures_that_fit_into_an_hour() -> None:
    def data(kind: str, identities: int) -> Data:
        return Data("mine", {"kind": kind, "path": "/data"}, (256, 128), identities)  # the number of images is stated

    small = Data("mine", {"kind": "synthetic", "train_ids": 20}, (256, 128), 20)
    large, huge = data("market1501", 751), data("vehicleid", 13_164)
    few, many = laptop_recipe(small), laptop_recipe(large)
    assert few is not None
    assert many is not None
    assert few.document["image_size"] > many.document["image_size"], "a larger dataset needs smaller pictures"
    assert max(few.hours, many.hours) <= WITHIN < paper_recipe(large).hours
    assert laptop_recipe(huge) is None
    assert paper_recipe(small).document["search"]["batch_size"] == 48, "the smaller side has 12 identities"
