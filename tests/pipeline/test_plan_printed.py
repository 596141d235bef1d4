"""What `plan`, `status`, `run` and `check` say about a grid before it runs: counts, hours, and the outer loop."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.command_line import manifest, write
from support.tuning import document

import pipeline.grid
from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.plan import sources
from pipeline.plan.unfold import plan
from pipeline.storage.store import LocalStore


class Captured:
    """The command line in this process, on one workspace."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, verb: str, written: dict[str, Any], *options: str) -> str:
        """Run a verb, which must succeed, and return what it printed."""
        arguments = [verb, str(write(self.folder, written)), "--workspace", str(self.folder / "workspace"), *options]
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code, self.capsys.readouterr()
        return self.capsys.readouterr().out


@pytest.fixture
def msinet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Captured:
    return Captured(tmp_path, capsys)


def test_a_plan_counts_by_source_split_and_kind(tiny: dict[str, Any], msinet: Captured) -> None:
    tiny |= {"splits": ["60-80", "50-50 softmax"], "genotypes": ["MSINet"], "search_seeds": [0, 1, 2]}
    printed = msinet("plan", tiny)
    rows = [line.split("  ") for line in printed.split("\n\n")[0].splitlines()[2:]]
    counted = [[cell.strip() for cell in row if cell.strip()][:4] for row in rows]
    assert counted == [
        ["street", "-", "prepare", "1"],
        ["campus", "-", "prepare", "1"],
        ["street", "60-80", "search", "3"],
        ["street", "60-80", "retrain", "3"],
        ["street", "60-80", "evaluate", "6"],
        ["street", "50-50 softmax", "search", "3"],
        ["street", "50-50 softmax", "retrain", "3"],
        ["street", "50-50 softmax", "evaluate", "6"],
        ["street", "MSINet", "retrain", "1"],
        ["street", "MSINet", "evaluate", "2"],
    ]
    assert "search street" not in printed


def test_all_shows_every_stage_with_its_key(tiny: dict[str, Any], msinet: Captured) -> None:
    tiny["search_seeds"] = [0, 1]
    printed, planned = msinet("plan", tiny, "--all"), plan(Experiment.model_validate(tiny))
    lines = printed.split("\n\n")[0].splitlines()[2:]
    assert [re.split("  +", line)[0] for line in lines] == list(planned.stages)
    assert sum(stage.key is not None and stage.key in printed for stage in planned.stages.values()) == 2


def test_a_larger_grid_takes_no_more_lines_and_no_more_work_for_its_recipes(
    tiny: dict[str, Any], msinet: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    original = sources.asdict

    def counted(recipe: Any) -> dict[str, Any]:
        calls[type(recipe).__name__] += 1
        return original(recipe)

    monkeypatch.setattr(sources, "asdict", counted)
    small = msinet("plan", tiny)
    sources.recipe_numbers.cache_clear()
    calls.clear()
    large = msinet("plan", {**tiny, "search_seeds": [*range(20)], "retrain_seeds": [*range(10)]})
    assert len(large.splitlines()) == len(small.splitlines())
    assert calls["SearchSettings"] == calls["TrainRecipe"] == 1


def test_a_finished_grid_reads_each_result_once(
    finished: Any, tiny: dict[str, Any], msinet: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, workspace = finished
    read: Counter[str] = Counter()
    original = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda store, key: read.update([key]) or original(store, key))
    printed = msinet("plan", tiny, "--workspace", workspace.address)
    assert "no search or retraining is left that could run" in printed
    results = Counter({key: count for key, count in read.items() if key.endswith("result.json")})
    assert len(results) == len(planned.stages)
    assert set(results.values()) == {1}


def test_hours_are_said_before_anything_is_prepared(tiny: dict[str, Any], msinet: Captured, tmp_path: Path) -> None:
    tiny["datasets"]["street"] = {"kind": "manifest", "path": str(manifest(tmp_path / "mine"))}
    tiny["search"]["epochs"] = 10_000
    for verb in ("plan", "check"):
        assert re.search(r"at most \d[\d,.]* hours of one 2 GHz CPU core for 2 searches", msinet(verb, tiny))


def test_hours_of_what_lacks_something_are_said_too(tiny: dict[str, Any], msinet: Captured, tmp_path: Path) -> None:
    tiny["datasets"]["street"] = {"kind": "market1501"}
    tiny["splits"] = ["60-80", {"split": "mine", "file": str(tmp_path / "missing.parquet")}]
    printed = msinet("plan", tiny)
    assert "no search or retraining is left that could run\n" in printed
    assert re.search(r"the stages that lack something would take at most \S+ hours .* for 4 searches", printed)


def test_a_run_says_the_hours_first(
    tiny: dict[str, Any], msinet: Captured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def pretended(grid: Any, **options: Any) -> pipeline.grid.GridEnded:
        said.append(capsys.readouterr().out)
        return pipeline.grid.GridEnded(failed=False)

    monkeypatch.setattr(pipeline.grid, "run_grid", pretended)
    tiny["search"]["epochs"] = 10_000
    msinet("run", tiny)
    assert re.search(r"at most \d[\d,.]* hours of one 2 GHz CPU core for 2 searches", said[0])


@pytest.mark.parametrize("verb", ["plan", "check"])
def test_the_trials_of_an_outer_loop_are_planned(tiny: dict[str, Any], msinet: Captured, verb: str) -> None:
    axes = {"epochs": [10, 1000], "margin": [0.2, 0.3]}
    printed = msinet(verb, document(tiny, space={"retrain": axes}, trials=50, hold_out=20))
    assert "is left" not in printed
    found = re.search(r"`msinet tune` runs the trials of the section `tune`: at most (\S+) hours .* 50 trials", printed)
    assert found, printed
    images, seconds_per_pixel = 10 * 2 * 2, 1.01e-5
    hours = 50 * 1000 * 0.8 * images * 32 * 16 * seconds_per_pixel / 3600
    assert float(found[1]) == pytest.approx(hours, abs=0.05)


@pytest.mark.parametrize("verb", ["plan", "check"])
def test_the_memory_of_a_stage_is_said(tiny: dict[str, Any], msinet: Captured, verb: str) -> None:
    tiny |= {"image_size": [256, 128], "search": {**tiny["search"], "batch_size": 64, "num_instances": 32}}
    printed = msinet(verb, tiny)
    assert re.search(r"memory of one stage on a CPU, at most: search 9\.8 GiB, retrain \d\.\d GiB, evaluate", printed)
    assert "memory of one trial on a CPU, at most: 2." in msinet(verb, document(tiny))
