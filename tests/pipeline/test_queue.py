"""The order in which stages start: what goes before what, and what waits for what. Ray is not asked."""

from typing import Any

import pytest

from pipeline.cluster import queue
from pipeline.cluster.queue import BACKLOG, Queue, Submitted, rank_of
from pipeline.plan.stage import Stage

CPU, GPU, HALF = ({"num_cpus": 1.0, "num_gpus": gpus} for gpus in (0.0, 1.0, 0.5))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which a test may change."""
    now = [0.0]
    monkeypatch.setattr(queue.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the references that were taken back from Ray."""
    references: list[str] = []
    monkeypatch.setattr(queue.ray, "cancel", lambda reference, **options: references.append(reference))
    return references


def submitted(kind: str, share: dict[str, float] = CPU, since: float = 0.0, *, begun: bool = False) -> Submitted:
    stage = Stage(kind, kind, {})
    return Submitted(stage, rank_of(kind, share), share, since, begun)


def full(**stages: Submitted) -> Queue:
    filled = Queue(None)
    filled.submitted.update(stages)
    return filled


def room(filled: Queue, kind: str, share: dict[str, float] = CPU) -> bool:
    return filled.has_room(kind, rank_of(kind, share), share)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("evaluate", CPU), ("retrain", CPU)),
        (("picture", GPU), ("search", GPU)),
        (("retrain", GPU), ("evaluate", CPU)),  # otherwise a GPU may stand idle for lack of CPUs
        (("prepare", CPU), ("retrain", CPU)),
        (("retrain", CPU), ("measure", GPU)),
        (("evaluate", CPU), ("measure", CPU)),
    ],
)
def test_ranks(first: tuple[str, Any], second: tuple[str, Any]) -> None:
    assert rank_of(*first) < rank_of(*second)


def test_trainings_that_wait_make_way_for_a_short_stage(clock: list[float], cancelled: list[str]) -> None:
    filled = full(
        running=submitted("retrain", begun=True),
        early=submitted("retrain"),
        short=submitted("evaluate", since=1.0),
        late=submitted("retrain", since=2.0),
    )
    clock[0] = 3.0
    filled.make_way(others_are_ready=True)
    assert cancelled == [], "the short stage may just be starting"
    clock[0] = 5.0
    filled.make_way(others_are_ready=True)
    assert cancelled == ["early"], "what was submitted later starts later anyway"
    filled.make_way(others_are_ready=True)
    assert cancelled == ["early"], "once"


@pytest.mark.parametrize(
    ("short", "training", "way"),
    [(CPU, CPU, True), (HALF, GPU, True), (GPU, GPU, True), (GPU, HALF, False), (CPU, GPU, False)],
)
def test_only_a_training_whose_place_fits_makes_way(
    clock: list[float], cancelled: list[str], short: dict[str, float], training: dict[str, float], way: bool
) -> None:
    filled = full(training=submitted("retrain", training), short=submitted("evaluate", short, since=1.0))
    clock[0] = 10.0
    filled.make_way(others_are_ready=True)
    assert cancelled == ["training"] * way


def test_a_training_with_other_needs_waits_until_a_short_stage_has_begun() -> None:
    """Ray starts stages of equal needs in their order, but others in any order."""
    short = submitted("evaluate", HALF)
    filled = full(short=short)
    assert not room(filled, "retrain", GPU)
    assert room(filled, "retrain", HALF)
    assert room(filled, "retrain", CPU)
    short.begun = True
    assert room(filled, "retrain", GPU)


def test_the_backlog_of_trainings_leaves_room_for_short_stages() -> None:
    filled = full(**{f"{number}": submitted("retrain") for number in range(BACKLOG)})
    assert not room(filled, "retrain")
    assert room(filled, "evaluate")


def test_the_largest_number_holds_for_all() -> None:
    filled = Queue(1)
    assert room(filled, "retrain")
    filled.submitted["one"] = submitted("retrain", begun=True)
    assert not room(filled, "evaluate")


def test_a_measurement_is_alone_and_makes_way_if_its_place_does_not_come(
    clock: list[float], cancelled: list[str]
) -> None:
    measurement = submitted("measure", GPU)
    filled = full(measurement=measurement)
    assert not room(filled, "evaluate")
    assert not room(full(training=submitted("retrain", begun=True)), "measure")
    clock[0] = 10.0
    filled.make_way(others_are_ready=False)
    assert cancelled == []
    filled.make_way(others_are_ready=True)
    assert cancelled == ["measurement"]


def test_a_measurement_that_has_begun_is_left_alone(clock: list[float], cancelled: list[str]) -> None:
    clock[0] = 10.0
    full(measurement=submitted("measure", begun=True)).make_way(others_are_ready=True)
    assert cancelled == []


def test_people_are_told_once_that_no_stage_finds_a_place(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    alone, group = submitted("evaluate", {**CPU, "memory": 2.0**31}), submitted("retrain", GPU)
    group.workers = 2
    filled = full(group=group)
    for clock[0] in (59.0, 61.0, 62.0):
        filled.tell_wait()
    assert caplog.messages == [
        "no stage has found a place for 60 s: `retrain` needs 2 places, each with 1 CPUs, 1 GPUs free "
        "(resources.retrain, workers.retrain)."
    ]
    group.begun = True
    filled.tell_wait()
    del filled.submitted["group"]
    filled.submitted["alone"] = alone
    filled.tell_wait()
    assert len(caplog.messages) == 2
    assert (
        "`evaluate` needs a place with 1 CPUs, 0 GPUs, 2.0 GiB of memory free (resources.evaluate)."
        in caplog.messages[1]
    )


def test_the_next_stage_that_waits_is_told_though_nobody_saw_the_one_before_it_run(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    filled = full(short=submitted("prepare"))
    clock[0] = 61.0
    filled.tell_wait()
    del filled.submitted["short"]  # it began and ended between two looks
    filled.submitted["long"] = submitted("retrain", since=61.0)
    for clock[0] in (120.0, 122.0, 123.0):
        filled.tell_wait()
    assert [message.split("`")[1] for message in caplog.messages] == ["prepare", "retrain"]


def test_a_stage_of_several_workers_goes_before_others_only_if_all_of_them_fit() -> None:
    group = submitted("retrain", GPU)
    group.workers = 2
    assert group.place == {}, "Ray Train reserves the places"
    assert room(full(group=group), "prepare"), "it needs no GPU, so it may start although the training waits for two"
    assert group.goes_before(rank_of("prepare", CPU), {"num_cpus": 2.0, "num_gpus": 2.0})
    assert not group.goes_before(rank_of("prepare", CPU), GPU)
