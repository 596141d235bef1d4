"""The commands in the documents run: in the order of a page, on generated data, in a folder with the page's files."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file
from support.documents import PAGES, ROOT, blocks, commands, lines, mentioned, parsed, verb_of
from support.exports import LIBRARIES, trained
from support.filled import published
from support.grids import tiny_document
from support.pictures import jpeg, write_tree

from msinet.interop.card import Card
from msinet.statistics import QueryScores
from pipeline.cli import main
from pipeline.cli.options import experiment_file
from pipeline.config.load import load_experiment
from pipeline.storage.workspace import Workspace

# Verbs and commands that do not run here, each with the reason. Their files and options are checked all the same.
NOT_RUN = {
    "msinet race": "it trains on Ray (tests/pipeline/test_race_rounds.py)",
    "msinet tune": "it trains on Ray (tests/pipeline/on_ray/test_tuning.py)",
    "msinet latency": "it measures for a minute (tests/msinet/test_one_shot.py)",
    "msinet init /data/cars --pattern": "the command before it writes the same files (tests/msinet/test_folders.py)",
    "msinet bench build my.yaml": "the command before it has written bench.parquet, which is not replaced",
}
# Pages whose commands run in a small world; elsewhere the commands are planned with the shipped experiments.
WORLDS = ("README.md", "docs/own-data.md", "docs/export.md", "docs/laboratory.md")
# Experiments that a page names and the reader has.
READERS_OWN = {"configs/my.yaml", "my.yaml", "other.yaml", "cars-laptop.yaml"}


def each_command() -> list[Any]:
    return [pytest.param(page, words, id=f"{page}: {' '.join(words)}") for page in PAGES for words in commands(page)]


def test_the_pages_have_commands() -> None:
    assert {page for page in PAGES if commands(page)} >= {*WORLDS, "clusters/README.md", "configs/paper/README.md"}
    assert len(each_command()) > 40
    verbs = {words[1] for page in PAGES for words in commands(page)}
    assert verbs >= {"init", "plan", "run", "status", "report", "compare", "check", "evaluate", "export", "verify"}
    run = [" ".join(words) for page in PAGES for words in commands(page)]
    assert all(any(command.startswith(start) for command in run) for start in NOT_RUN), "an exception nobody needs"


@pytest.mark.parametrize(("page", "words"), each_command())
def test_a_command_has_the_arguments_of_its_verb_and_files_that_exist(page: str, words: list[str]) -> None:
    values = parsed(words)
    if words[1] in ("init", "check", "evaluate", "export", "verify", "embed", "search-gallery", "latency"):
        return
    given = [values.get("experiment"), *(values.get("experiments") or [])]
    for path in [path for path in given if path]:
        own = str(path) in READERS_OWN
        assert own or (ROOT / experiment_file(path)).is_file(), path
        if not own:
            assert load_experiment(ROOT / experiment_file(path), values.get("data") or []).name


@pytest.mark.parametrize("page", PAGES)
def test_verbs_and_options_in_running_text_exist(page: str) -> None:
    for command in mentioned(page):
        words = re.sub(r"[`…,;]|\.$", "", command).split()
        if len(words) == 1 or words[1] in ("--help", "--install-completion"):
            continue
        verb, rest = verb_of(words)
        options = {name for parameter in verb.params for name in parameter.opts}
        assert {word for word in rest if re.match("--?[a-z]", word)} <= options, command


def test_make_and_scripts_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {words[1] for page in PAGES for line in lines(page) if (words := line.split())[:1] == ["make"]}
    assert {"demo", "test", "env"} <= named <= targets
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    for page in PAGES:
        for line in lines(page):
            if found := re.match(r"python (benchmarks/\w+\.py)(.*)", line):
                assert (ROOT / found[1]).is_file(), line
                options = re.findall(r"(--[a-z][\w-]*)", found[2].partition("#")[0])
                assert all(f'"{option}"' in sources for option in options), line


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with made-up results of a search and of five genotypes, with two seeds on two targets."""
    folder = tmp_path_factory.mktemp("workspace")
    published(small(), Workspace(folder))
    return folder


def small() -> dict[str, Any]:
    genotypes = ["MSINet", "MSINet-VR", "MSINet-S", "NNNNNNNNNNNN"]
    return {**tiny_document(), "genotypes": genotypes, "retrain_seeds": [0, 1], "rank": True}


def per_query(workspace: Path) -> dict[str, Any]:
    """Return what the Python blocks of the pages assume: columns of `per_query.parquet` by seed, of two networks."""
    files = sorted(workspace.glob("stages/evaluate/*/attempts/*/per_query.parquet"))[:4]
    columns = [pq.read_table(file).to_pydict() for file in files]
    others = [QueryScores.from_columns(item) for item in columns[2:]]
    return {"tables": dict(enumerate(columns[:2])), "others": dict(enumerate(others))}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small dataset in the layout of Market-1501."""
    folder = tmp_path_factory.mktemp("market")
    parts = {"bounding_box_train": range(1, 7), "query": range(7, 11), "bounding_box_test": range(7, 11)}
    for part, pids in parts.items():
        cameras = (1,) if part == "query" else (1, 2) if part == "bounding_box_train" else (2,)
        write_tree(folder, [f"{part}/{pid:04}_c{c}s1_{n:06}_00.jpg" for pid in pids for c in cameras for n in (1, 2)])
    return folder


@pytest.fixture
def world(workspace: Path, market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder that has what the pages assume: small experiments under their names, pictures, weights, data."""
    for name in ("configs/demo.yaml", "configs/lab/rank.yaml", "configs/my.yaml", "lab/compare", "my.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(yaml.safe_dump(small()))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "work").symlink_to(workspace)
    shutil.copytree(market, tmp_path / "data" / "market")
    cars = [f"cam{c}/{i:03}_{n}.jpg" for i in range(24) for c in (1, 2) for n in (0, 1)]
    write_tree(tmp_path / "data" / "cars", cars)
    write_tree(tmp_path / "crops", ["1.jpg", "more/2.jpg"])
    for name in ("a.jpg", "b.jpg", "person.jpg"):
        (tmp_path / name).write_bytes(jpeg(5))
    torch.save(trained().state_dict(), tmp_path / "model.pth")
    card = Card("osnet", {"scales": [3]}, 5, (32, 16))
    save_file(trained("osnet", scales=(3,)).state_dict(), tmp_path / "weights.safetensors", card.to_metadata())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSINET_WORKSPACE", str(workspace))
    monkeypatch.setenv("MSINET_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("page", WORLDS)
def test_the_commands_of_a_page_run_in_their_order(
    page: str, world: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = [name for name in LIBRARIES if find_spec(name) is None]
    for words in commands(page):
        if lacking and words[1] in ("export", "verify", "embed", "search-gallery"):
            continue
        if any(" ".join(words).startswith(command) for command in NOT_RUN):
            continue
        if words[1] == "run":  # what it would train is planned
            words[1] = "plan"
        if words[1:] == ["plan"]:
            words += ["configs/demo.yaml"]
        with pytest.raises(SystemExit) as ended:
            main([word.replace("/data/", f"{world}/data/") for word in words[1:]])
        assert not ended.value.code, (words, *capsys.readouterr())
    if page == "docs/laboratory.md" or (page == "docs/export.md" and not lacking):
        exec("\n".join(blocks(page, "python")), per_query(workspace))
    made = {"README.md": {"report", "bench.parquet", "cars.yaml"}, "docs/laboratory.md": {"evolution.svg"}}
    assert {path.name for path in world.iterdir()} >= made.get(page, set())
