"""Saved states that do not fit are passed over on all ranks, a full disk ends no training, and results are finite."""

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.full_disk import files_no_larger_than
from support.grids import failed, quiet, task_of
from test_stages import Killed, beside, require_equal
from torch import distributed, multiprocessing

from msinet.engine.state import load_state, save_state
from msinet.ranks import ALONE, Ranks
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import Plan, Stage
from pipeline.stages import saved
from pipeline.stages.attempt import execute
from pipeline.stages.saved import continue_from_saved
from pipeline.stages.task import Context, Task
from pipeline.storage.workspace import CHECKPOINT, Workspace

WORLD = 2


def change(*keys: Any, to: Any) -> Callable[[Any], None]:
    """Return a function that changes one value of a state."""

    def apply(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = to(state[keys[-1]]) if callable(to) else to

    return apply


def of_fewer_parameters(optimizer: Any) -> Any:
    optimizer["param_groups"][0]["params"].pop()
    return optimizer


def of_other_shapes(optimizer: Any) -> Any:
    for values in optimizer["state"].values():
        for name, value in values.items():
            if value.dim():
                values[name] = value[..., None]
    return optimizer


def narrowed(weights: Any) -> Any:
    name = max(weights, key=lambda name: weights[name].dim())
    return {**weights, name: weights[name][:1]}


def without_one(weights: Any) -> Any:
    return dict(list(weights.items())[1:])


NETWORK = {"search": "supernet", "retrain": "model"}
OPTIMIZER = {"search": "weight_optimizer", "retrain": "optimizer"}
# What becomes of a state that fits, by the kind of stage.
UNFIT: dict[str, Callable[[str], Callable[[Any], None]]] = {
    "no loop": lambda kind: lambda state: state.pop("loop"),
    "no history": lambda kind: lambda state: state.pop("history"),
    "a loop that is no dictionary": lambda kind: change("loop", to=[1]),
    "an empty loop": lambda kind: change("loop", to={}),
    "weights of another shape": lambda kind: change("loop", NETWORK[kind], to=narrowed),
    "weights of another network": lambda kind: change("loop", NETWORK[kind], to=without_one),
    "sums that would be broadcast": lambda kind: change("loop", "sums", to=lambda sums: sums[:1]),
    "more than a loop has": lambda kind: change("loop", "another", to=lambda _: 1),
    "an optimiser of fewer parameters": lambda kind: change("loop", OPTIMIZER[kind], to=of_fewer_parameters),
    "an optimiser of other shapes": lambda kind: change("loop", OPTIMIZER[kind], to=of_other_shapes),
    "a position that is no number": lambda kind: change("loop", "next_epoch", to="first"),
    "a later position than its history": lambda kind: change("loop", "next_epoch", to=2),
    "a longer history than its position": lambda kind: change("history", to=lambda lines: lines * 2),
    "a history that is no JSON": lambda kind: change("history", to=["epoch 1"]),
    "a history of another shape": lambda kind: change("history", to=["[1]"]),
}


@pytest.fixture(scope="module")
def interrupted(
    finished: tuple[Plan, Workspace], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Workspace, dict[str, Any]]]:
    """For each kind, a workspace where a stage was killed in its second epoch, and the state that it had saved."""
    planned, workspace = finished
    found = {}
    for kind in NETWORK:
        stage, other = next(planned.of_kind(kind)), beside(workspace, tmp_path_factory.mktemp(kind))

        def die_in_the_second_epoch(report: dict[str, Any]) -> None:
            if report["epoch"] == 1:
                raise Killed

        with pytest.raises(Killed):
            execute(
                other.address, replace(task_of(stage, planned), checkpoint_every=0), die_in_the_second_epoch, holder="d"
            )
        (place,) = other.checkpoints(kind, str(stage.key))
        with other.checkpoint(place) as path:
            found[kind] = other, load_state(path)
        assert found[kind][1]["loop"]["next_epoch"] == 1
    return found


def plant(workspace: Workspace, stage: Stage, state: Any) -> None:
    """Save a state as that of a new attempt, newer than all others."""
    attempt = workspace.begin(stage.kind, str(stage.key))
    save_state(attempt.folder / CHECKPOINT, state)
    later = max(entry.modified for entry in workspace.store.entries("")) + 10
    os.utime(attempt.folder / CHECKPOINT, (later, later))


@pytest.mark.parametrize("kind", NETWORK)
def test_states_that_do_not_fit_are_passed_over(
    finished: tuple[Plan, Workspace],
    interrupted: dict[str, tuple[Workspace, dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """Each of them is newer than the state that fits, from which the stage then continues to the same numbers."""
    planned, workspace = finished
    stage, (other, good) = next(planned.of_kind(kind)), interrupted[kind]
    for damage in UNFIT.values():
        state = copy.deepcopy(good)
        if damage is UNFIT["more than a loop has"]:
            state["loop"]["another"] = 0
        damage(kind)(state)
        plant(other, stage, state)
    for content in ({}, [1], 7, None):
        plant(other, stage, content)
    attempt = other.begin(stage.kind, str(stage.key))
    os.mkfifo(attempt.folder / CHECKPOINT)  # reading it would never end
    epochs: list[int] = []
    ended = execute(other.address, task_of(stage, planned), lambda report: epochs.append(report["epoch"]), holder="d")
    assert epochs == [1], "the first epoch is not run again"
    require_equal(workspace, stage, other, ended)
    assert sum("passed over" in line for line in caplog.messages) == len(UNFIT) + 4


def test_without_a_state_that_fits_a_stage_starts_anew(
    finished: tuple[Plan, Workspace], interrupted: dict[str, tuple[Workspace, dict[str, Any]]], tmp_path: Path
) -> None:
    """Nothing of a state that was loaded by half remains."""
    planned, workspace = finished
    stage, other = next(planned.of_kind("search")), beside(workspace, tmp_path)
    state = copy.deepcopy(interrupted["search"][1])
    UNFIT["an optimiser of other shapes"]("search")(state)  # by then everything else is loaded
    plant(other, stage, state)
    require_equal(workspace, stage, other, execute(other.address, task_of(stage, planned), quiet))


class Counter:
    """A loop whose state is one number."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.next_epoch, self.next_step, self.value = 0, 0, torch.zeros(1)

    def state_dict(self) -> dict[str, Any]:
        return {"next_epoch": self.next_epoch, "next_step": self.next_step, "value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        positions = self.ranks.gather(torch.tensor([state["next_epoch"]])).tolist()
        if positions != positions[:1] * self.ranks.world:
            raise ValueError("all ranks must continue from one saved state")
        self.next_epoch, self.next_step = state["next_epoch"], state["next_step"]
        self.value.copy_(state["value"])


def counted(epoch: int) -> dict[str, Any]:
    history = [json.dumps({"epoch": number}) for number in range(epoch)]
    return {"loop": {"next_epoch": epoch, "next_step": 0, "value": torch.full((1,), float(epoch))}, "history": history}


def context_of(workspace: Workspace, ranks: Ranks | None) -> Context:
    attempt = workspace.begin("search", "k")
    return Context(Task("search", "k", {}), workspace, attempt, quiet, lambda: False, None, ranks)


# What happens on the second rank alone while it reads the newest state.
FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {}


def fault(function: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
    FAULTS[function.__name__] = function
    return function


def _fail_first(patch: pytest.MonkeyPatch, name: str, answer: Callable[..., Any]) -> None:
    original, calls = getattr(saved, name), []

    def first_fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return answer(*arguments) if len(calls) == 1 else original(*arguments, **options)

    patch.setattr(saved, name, first_fails)


def _raise(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any) -> Any:
        raise error

    return fail


@fault
def its_store_does_not_answer(patch: pytest.MonkeyPatch) -> None:
    _fail_first(patch, "load_state", _raise(OSError("s3://bucket failed")))


@fault
def it_has_just_been_deleted(patch: pytest.MonkeyPatch) -> None:
    _fail_first(patch, "load_state", _raise(FileNotFoundError("gone")))


@fault
def its_copy_is_damaged(patch: pytest.MonkeyPatch) -> None:
    _fail_first(patch, "load_state", _raise(ValueError("damaged")))


@fault
def it_was_replaced_by_a_later_one(patch: pytest.MonkeyPatch) -> None:
    _fail_first(patch, "load_state", lambda path: counted(3))


@fault
def it_is_of_another_form(patch: pytest.MonkeyPatch) -> None:
    _fail_first(patch, "same_form", lambda first, second: False)


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD)
    ranks, ended = Ranks(rank, WORLD), {}
    for name, apply in FAULTS.items():
        loop = Counter(ranks)
        with pytest.MonkeyPatch.context() as patch:
            if rank == 1:
                apply(patch)
            history = continue_from_saved(context_of(Workspace(folder / "workspace"), ranks), loop, 5)
        ended[name] = [loop.next_epoch, loop.value.item(), len(history)]
    (folder / f"{rank}.json").write_text(json.dumps(ended))
    distributed.destroy_process_group()


def test_all_ranks_continue_from_one_state(workspace: Workspace, tmp_path: Path) -> None:
    stage = Stage("search", "search", {}, key="k")
    for epoch in (1, 2):
        plant(workspace, stage, counted(epoch))
    loop = Counter(ALONE)
    assert len(continue_from_saved(context_of(workspace, None), loop, 5)) == loop.next_epoch == 2, "the newest one"
    multiprocessing.spawn(run_rank, (tmp_path,), WORLD)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(WORLD))
    assert first == second == {name: [1, 1.0, 1] for name in FAULTS}, "what one rank cannot read no rank uses"


def test_a_lack_of_memory_is_not_blamed_on_the_state(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(workspace, Stage("search", "search", {}, key="k"), counted(1))
    monkeypatch.setattr(Counter, "load_state_dict", _raise(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        continue_from_saved(context_of(workspace, None), Counter(ALONE), 5)


@pytest.mark.parametrize("kind", NETWORK)
def test_a_full_disk_ends_no_training_but_publishes_nothing(
    finished: tuple[Plan, Workspace], tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind(kind)), beside(workspace, tmp_path)
    epochs: list[int] = []
    with files_no_larger_than(2**20):
        task = replace(task_of(stage, planned), checkpoint_every=0)
        ended = execute(other.address, task, lambda report: epochs.append(report["epoch"]), holder="driver")
    failure = failed(ended)
    assert epochs == [0, 1]
    assert "was not saved, training goes on: [Errno 27] File too large" in caplog.text
    assert failure.retry == "again", "another machine or a later time may have room"
    assert "must have room" in failure.message
    assert f"/{WEIGHTS}" in failure.message
    assert "\n" not in failure.message
    assert other.result(kind, str(stage.key)) is None
    require_equal(workspace, stage, other, execute(other.address, task, quiet, holder="driver"))


@pytest.mark.parametrize("kind", NETWORK)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_no_result(
    finished: tuple[Plan, Workspace], tmp_path: Path, kind: str, value: float
) -> None:
    planned, workspace = finished
    stage, other = next(planned.of_kind(kind)), beside(workspace, tmp_path)

    def diverge(context: Context, loop: Any, save: Any) -> None:
        """The very last step makes one weight too large; no later loss shows it."""
        if loop.next_epoch == 2:
            with torch.no_grad():
                list(getattr(loop, NETWORK[kind]).parameters())[-1].fill_(value)

    failure = failed(execute(other.address, task_of(stage, planned), quiet, after_epoch=diverge))
    assert "the weights must be finite numbers, but 1 of " in failure.message
    assert "`lr`" in failure.message
    assert failure.retry is None
    assert other.result(kind, str(stage.key)) is None
