"""Stages without Ray: from a specification to a published result; interrupted ones continue to the same numbers."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from support.grids import done, failed, made, quiet, run_without_ray, task_of, tiny_document

from msinet.engine.state import load_state
from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import HISTORY, PER_QUERY, WEIGHTS
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Ended, Held, Step, Stopped
from pipeline.stages.attempt import LogTail, execute
from pipeline.stages.task import Task
from pipeline.storage.leases import take
from pipeline.storage.workspace import Workspace, stage_place


def test_every_stage_publishes_what_the_next_one_needs(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    results = planned.results()
    assert set(results) == set(planned.stages)
    search = next(result for result in results.values() if result["kind"] == "search")
    history = [json.loads(line) for line in (workspace.files(search) / HISTORY).read_text().splitlines()]
    assert [line["epoch"] for line in history] == [0, 1]
    assert history[-1]["alphas"] == search["alphas"]
    assert history[-1]["genotype"] == search["genotype"]
    assert search["split"]["train_ids"] == 6
    assert search["split"]["valid_ids"] == 8


def test_an_evaluation_is_the_mean_of_its_queries(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    for stage in planned.of_kind("evaluate"):
        assert stage.result is not None
        table = pq.read_table(workspace.files(stage.result) / PER_QUERY).to_pydict()
        mean = sum(table["average_precision"]) / len(table["average_precision"])
        assert stage.result["metrics"]["mAP"] == pytest.approx(mean)
        first = [rank == 1 for rank in table["first_match_rank"]]
        assert stage.result["metrics"]["rank1"] == pytest.approx(sum(first) / len(first))


def test_equal_work_gives_equal_bytes(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    planned, workspace = finished
    elsewhere = Workspace(tmp_path)
    again = run_without_ray(tiny_document(), elsewhere)
    for name, stage in planned.stages.items():
        assert again.stages[name].key == stage.key
    for stage in planned.stages.values():
        if stage.kind in ("search", "retrain"):
            ours = workspace.files(stage.result) / WEIGHTS  # type: ignore[arg-type]
            theirs = elsewhere.files(again.stages[stage.name].result) / WEIGHTS  # type: ignore[arg-type]
            assert ours.read_bytes() == theirs.read_bytes()


class Killed(BaseException):
    """Not an error that a stage could catch."""


def beside(workspace: Workspace, folder: Path) -> Workspace:
    """An empty workspace that shares the prepared datasets of another."""
    (folder / "stages").mkdir()
    assert workspace.root is not None
    (folder / "stages" / "prepare").symlink_to(workspace.root / "stages" / "prepare")
    return made(folder)


def require_equal(first: Workspace, stage: Stage, second: Workspace, ended: Ended) -> None:
    result = done(ended)
    before = (first.files(stage.result) / WEIGHTS).read_bytes()  # type: ignore[arg-type]
    assert (second.files(result) / WEIGHTS).read_bytes() == before
    lines = (second.files(result) / HISTORY).read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]
    assert result["metrics"] == stage.result["metrics"]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["search", "retrain"])
def test_a_killed_stage_continues_to_the_same_numbers(
    finished: tuple[Plan, Workspace], tmp_path: Path, kind: str
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind(kind)), beside(workspace, tmp_path)
    task = replace(task_of(stage, planned), checkpoint_every=0)
    epochs: list[int] = []

    def die_in_the_second_epoch(report: dict[str, Any]) -> None:
        epochs.append(report["epoch"])
        if report["epoch"] == 1:
            raise Killed

    with pytest.raises(Killed):
        execute(other.address, task, die_in_the_second_epoch, holder="driver")
    assert other.result(kind, str(stage.key)) is None
    ended = execute(other.address, task, lambda report: epochs.append(report["epoch"]), holder="driver")
    assert epochs == [0, 1, 1], "the first epoch is not run again"
    require_equal(workspace, stage, other, ended)


@pytest.mark.parametrize("kind", ["search", "retrain"])
def test_sigterm_saves_the_state_and_ends(finished: tuple[Plan, Workspace], tmp_path: Path, kind: str) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind(kind)), beside(workspace, tmp_path)
    task = replace(task_of(stage, planned), checkpoint_every=3600)
    handler = signal.getsignal(signal.SIGTERM)
    ended = execute(other.address, task, lambda report: os.kill(os.getpid(), signal.SIGTERM))
    assert ended == Stopped()
    assert signal.getsignal(signal.SIGTERM) is handler
    epochs: list[int] = []
    ended = execute(other.address, task, lambda report: epochs.append(report["epoch"]))
    assert epochs == [1]
    require_equal(workspace, stage, other, ended)


def test_sigterm_in_the_middle_of_an_epoch_saves_the_state_after_the_step(
    finished: tuple[Plan, Workspace], tmp_path: Path
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind("retrain")), beside(workspace, tmp_path)
    task = replace(task_of(stage, planned), checkpoint_every=3600)

    def send_sigterm() -> bool:
        """The worker asks for a notice after its first step."""
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    assert execute(other.address, task, quiet, notice=send_sigterm) == Stopped()
    (place,) = other.checkpoints(stage.kind, str(stage.key))
    with other.checkpoint(place) as path:
        loop = load_state(path)["loop"]
    assert (loop["next_epoch"], loop["next_step"]) == (0, 2)
    require_equal(workspace, stage, other, execute(other.address, task, quiet))


def test_within_an_epoch_the_steps_are_told(
    finished: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind("retrain")), beside(workspace, tmp_path)
    monkeypatch.setattr("pipeline.stages.epochs.STEP_EVERY", 0.0)
    told: list[Step] = []
    result = done(execute(other.address, task_of(stage, planned), quiet, step=told.append))
    history = [json.loads(line) for line in (other.files(result) / HISTORY).read_text().splitlines()]
    assert [(step.epoch, step.epochs, step.step, step.steps) for step in told] == [
        (line["epoch"], 2, number, line["steps"]) for line in history for number in range(1, line["steps"])
    ]
    assert len(told) > 1
    assert all(step.seconds > 0 for step in told)


def test_states_that_cannot_be_saved_end_no_training(
    finished: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind("retrain")), beside(workspace, tmp_path)

    def away(*arguments: Any) -> None:
        raise OSError("s3://bucket failed: its endpoint cannot be reached")

    monkeypatch.setattr(Workspace, "save_checkpoint", away)
    ended = execute(other.address, replace(task_of(stage, planned), checkpoint_every=0), quiet)
    require_equal(workspace, stage, other, ended)
    assert "was not saved, training goes on: s3://bucket failed" in caplog.text


def test_a_state_that_cannot_be_saved_before_the_end_is_a_failure(
    finished: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind("retrain")), beside(workspace, tmp_path)

    def away(*arguments: Any) -> None:
        raise OSError("s3://bucket failed")

    monkeypatch.setattr(Workspace, "save_checkpoint", away)
    task = replace(task_of(stage, planned), checkpoint_every=3600)
    ended = execute(other.address, task, lambda report: os.kill(os.getpid(), signal.SIGTERM))
    assert failed(ended).retry == "again"


def test_a_stage_that_another_driver_holds_is_left_alone(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind("search")), beside(workspace, tmp_path)
    lease = take(other.store, f"{stage_place('search', str(stage.key))}/leases", "another", 60)
    assert lease is not None
    with lease:
        assert execute(other.address, task_of(stage, planned), quiet, holder="driver") == Held("another")
    assert not list(tmp_path.glob("stages/search/*/attempts"))


def test_what_is_published_is_not_run_again(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    stage = next(planned.of_kind("search"))
    assert workspace.root is not None
    before = sorted(path.name for path in workspace.root.glob(f"stages/search/{stage.key}/attempts/*"))
    ended = execute(workspace.address, task_of(stage, planned), quiet)
    assert done(ended) == stage.result
    assert sorted(p.name for p in workspace.root.glob(f"stages/search/{stage.key}/attempts/*")) == before


def test_a_failure_is_kept_and_returned(
    experiment: Experiment, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogTail, "read", lambda tail: "said before the end")
    task = Task("prepare", "k", {"dataset": {"kind": "market1501", "fingerprint": "f"}}, location={"path": "/nowhere"})
    failure = failed(execute(workspace.address, task, quiet))
    assert "/nowhere" in failure.message
    assert "Traceback" in failure.traceback
    assert failure.log == "said before the end"
    assert workspace.result("prepare", "k") is None
    assert workspace.last_failure("prepare", "k") == failure


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "alone"),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), "alone"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "alone"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "alone"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "alone"),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), None),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), None),
        (OSError("the disk is full"), "again"),
        (TypeError("a bug"), None),
        (ValueError("bad data"), None),
    ],
)
def test_a_failure_says_what_may_help(
    finished: tuple[Plan, Workspace],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    retry: str | None,
) -> None:
    def fail(context: Any) -> Any:
        raise error

    monkeypatch.setattr("pipeline.stages.prepare.run", fail)
    planned, _ = finished
    ended = execute(workspace.address, task_of(planned.stages["prepare street"], planned), quiet)
    failure = failed(ended)
    assert failure.retry == retry
    assert str(error) in failure.message


def test_data_that_changed_since_the_check_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    from msinet.data import synthetic

    folder = tmp_path / "data"
    synthetic.write(synthetic.SyntheticSpec(train_ids=2, test_ids=2, height=32), folder)
    spec = {"dataset": {"kind": "manifest", "fingerprint": "of before"}}
    task = Task("prepare", "k", spec, location={"path": str(folder)})
    assert "must not change" in failed(execute(workspace.address, task, quiet)).message


def test_a_failure_keeps_the_end_of_the_log(tmp_path: Path) -> None:
    script = (
        "import sys; from pipeline.stages.attempt import LogTail; print('before'); sys.stdout.flush();"
        "tail = LogTail();"
        "print('x' * 9000); print('said'); sys.stderr.write('complained'); text = tail.read();"
        "open(sys.argv[1], 'w').write(text)"
    )
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", script, tmp_path / "tail"], stdout=out, stderr=err, check=True, cwd=root)
    text = (tmp_path / "tail").read_text()
    assert text.endswith("said\ncomplained")
    assert "before" not in text
    assert len(text) == LogTail.LENGTH
