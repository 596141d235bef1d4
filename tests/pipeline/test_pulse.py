"""The question whether Ray is alive: how often it is asked, and what follows from each answer. Ray is not asked."""

from types import SimpleNamespace

import pytest

from pipeline.cluster import pulse
from pipeline.cluster.pulse import EVERY, SILENCE, Pulse
from pipeline.errors import ClusterLost


class Head:
    """A cluster's head, and the time.

    Attributes:
        answer: Whether the node is alive; an error if the head does not answer.
        now: The time in seconds.
        asked: How often the head was asked.
    """

    def __init__(self) -> None:
        self.answer: list[bool] | OSError = [True]
        self.now, self.asked = 1000.0, 0

    def monotonic(self) -> float:
        return self.now

    def ask(self, address: str, seconds: float, nodes: list[str]) -> list[bool]:
        assert (address, nodes) == ("head:6379", ["node"])
        self.asked += 1
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    head = Head()
    context = SimpleNamespace(gcs_address="head:6379", get_node_id=lambda: "node")
    monkeypatch.setattr(pulse.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(pulse, "ask_cluster", head.ask)
    monkeypatch.setattr(pulse, "time", head)
    return head


def test_a_living_cluster_is_asked_now_and_then(head: Head) -> None:
    question = Pulse()
    for _ in range(100):
        question.require()
        head.now += EVERY / 10
    assert head.asked == 10


def test_a_dead_node_ends_it(head: Head) -> None:
    question = Pulse()
    head.answer = [False]
    with pytest.raises(ClusterLost, match="Ray on this machine has died: run the same command again to continue"):
        question.require()


def test_a_silent_head_ends_it_after_half_a_minute(head: Head) -> None:
    assert SILENCE == 30
    question = Pulse()
    question.require()
    head.answer = ConnectionError("Deadline Exceeded")
    for _ in range(10):
        head.now += 3.0
        question.require()
    head.now += 3.0
    with pytest.raises(ClusterLost, match=r"has not answered for 33 s \(Deadline Exceeded\)"):
        question.require()


def test_a_head_that_was_silent_for_a_while_is_no_reason_to_end(head: Head) -> None:
    question = Pulse()
    for answer in (ConnectionError("Deadline Exceeded"), [True]) * 3:
        head.answer = answer
        head.now += 20.0
        question.require()
