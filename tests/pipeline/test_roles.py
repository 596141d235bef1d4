"""A dataset needs what its roles need: a source its training pictures, a target queries that have matches."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from support.command_line import manifest, msinet, write

from pipeline.checking import check_data, check_experiment
from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.preflight import preflight
from pipeline.storage.workspace import Workspace

Row = dict[str, str]


def rows_of(folder: Path) -> list[Row]:
    with (folder / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def keep(folder: Path, rows: list[Row]) -> Path:
    """Let the manifest list only these rows."""
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "identity", "camera", "subset"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Return the folder of a dataset that can have every role."""
    return manifest(tmp_path / "sound")


@pytest.fixture
def one_camera(tmp_path: Path) -> Path:
    """Return the folder of a dataset of one camera."""
    folder = manifest(tmp_path / "one")
    return keep(folder, [{**row, "camera": "1"} for row in rows_of(folder)])


def experiment(tiny: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    datasets = {"s": {"kind": "manifest", "path": str(source)}, "t": {"kind": "manifest", "path": str(target)}}
    return {**tiny, "datasets": datasets, "sources": ["s"], "targets": ["t"]}


def run_preflight(document: dict[str, Any], workspace: Workspace) -> dict[str, str]:
    return preflight(Experiment.model_validate(document), workspace, print)


@pytest.mark.parametrize(
    "subsets", [{"train", "query", "gallery"}, {"train"}, {"train", "query"}, {"train", "gallery"}]
)
def test_a_source_of_one_camera_needs_no_queries(
    tiny: dict[str, Any], tmp_path: Path, one_camera: Path, sound: Path, workspace: Workspace, subsets: set[str]
) -> None:
    keep(one_camera, [row for row in rows_of(one_camera) if row["subset"] in subsets])
    document = experiment(tiny, one_camera, sound)
    assert set(run_preflight(document, workspace)) == {"s", "t"}
    assert check_experiment(write(tmp_path, document), str(tmp_path / "other"), None, None)


def test_a_target_needs_no_training_pictures(
    tiny: dict[str, Any], sound: Path, tmp_path: Path, workspace: Workspace
) -> None:
    target = manifest(tmp_path / "target")
    keep(target, [row for row in rows_of(target) if row["subset"] != "train"])
    assert set(run_preflight(experiment(tiny, sound, target), workspace)) == {"s", "t"}
    with pytest.raises(RequestError, match="'s' must have pictures for train, but has none for train"):
        run_preflight(experiment(tiny, target, sound), workspace)


def test_a_source_with_one_picture_for_each_identity_is_enough(
    tiny: dict[str, Any], sound: Path, tmp_path: Path, workspace: Workspace
) -> None:
    source = manifest(tmp_path / "source")
    first = {row["identity"]: row for row in reversed(rows_of(source)) if row["subset"] == "train"}
    keep(source, list(first.values()))
    assert set(run_preflight(experiment(tiny, source, sound), workspace)) == {"s", "t"}
    with pytest.raises(RequestError, match="the validation side of 100-100 on s has 0"):
        run_preflight({**experiment(tiny, source, sound), "splits": ["100-100"]}, workspace)


def test_a_target_of_one_camera_is_refused_also_when_it_was_checked_as_a_source(
    tiny: dict[str, Any], sound: Path, one_camera: Path, tmp_path: Path, workspace: Workspace
) -> None:
    run_preflight(experiment(tiny, one_camera, sound), workspace)
    sentence = r"'t' cannot be a target: at least one query must have a match .* leave the column `camera` .* empty"
    with pytest.raises(RequestError, match=sentence):
        run_preflight(experiment(tiny, sound, one_camera), workspace)
    keep(one_camera, [{**row, "camera": ""} for row in rows_of(one_camera)])
    assert set(run_preflight(experiment(tiny, sound, one_camera), workspace)) == {"s", "t"}


def test_without_an_experiment_a_dataset_is_checked_for_both_roles(
    one_camera: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not check_data(f"manifest={one_camera}")
    assert "at least one query must have a match" in capsys.readouterr().out


def test_a_missing_picture_is_named_with_the_one_that_is_there(
    tiny: dict[str, Any], sound: Path, tmp_path: Path
) -> None:
    first = sorted((sound / "train").iterdir())[0]
    first.rename(first.with_suffix(".JPG"))
    document = experiment(tiny, sound, sound)
    ended = msinet("run", write(tmp_path, document), folder=tmp_path)
    assert ended.returncode == 2
    assert f"train/{first.name} is not: No such file or directory. Did you mean train/{first.stem}.JPG?" in ended.stderr
    assert "(datasets.s.path)" in ended.stderr


def test_a_name_that_is_not_utf8_ends_before_anything_runs(tiny: dict[str, Any], sound: Path, tmp_path: Path) -> None:
    market = tmp_path / "market"
    for subset, folder in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        (market / folder).mkdir(parents=True)
        for file in (sound / subset).iterdir():
            (market / folder / file.name).write_bytes(file.read_bytes())
    first = sorted((market / "query").iterdir())[0]
    first.rename(os.fsdecode(bytes(first.with_suffix("")) + b"\xb8\xb1.jpg"))
    document = experiment(tiny, sound, market)
    document["datasets"]["t"]["kind"] = "market1501"
    path, sentence = (
        write(tmp_path, document),
        rf"an image's name must be UTF-8, but query/{first.stem}\xb8\xb1.jpg is not",
    )
    for verb in ("check", "run"):
        ended = msinet(verb, path, folder=tmp_path)
        assert ended.returncode == 2
        assert sentence in ended.stdout + ended.stderr
