"""The position of a loop between steps, and the report of an epoch."""

import math

import pytest
import torch

from msinet.engine.loop import Loop
from msinet.ranks import Ranks

CPU = torch.device("cpu")


def squares(number: int) -> torch.Tensor:
    return torch.tensor([number, number**2], dtype=torch.float32)


def test_after_each_step_but_the_last_someone_may_look():
    loop, seen = Loop(2, CPU, Ranks()), []
    result = loop.run_epoch(range(4), squares, lambda: seen.append((loop.next_step, loop.sums.tolist())))
    assert seen == [(1, [0, 0]), (2, [1, 1]), (3, [3, 5])]
    means, steps, seconds = result
    assert (means, steps) == ([1.5, 3.5], 4)
    assert seconds > 0
    assert {**loop.state_dict(), "sums": loop.sums.tolist()} == {
        "next_epoch": 1,
        "next_step": 0,
        "sums": [0, 0],
        "seconds": 0,
    }


@pytest.mark.parametrize("done", range(5))
def test_an_epoch_goes_on_with_its_sums_and_seconds(done):
    """This includes an epoch whose steps were all done, so that only its report was missing."""
    state = {"next_epoch": 7, "next_step": done, "sums": sum(map(squares, range(done)), torch.zeros(2))}
    loop = Loop(2, CPU, Ranks())
    loop.load_state_dict({**state, "seconds": 1000.0})
    means, steps, seconds = loop.run_epoch(range(done, 4), squares, None)
    assert (means, steps, loop.next_epoch) == ([1.5, 3.5], 4, 8)
    assert 1000 < seconds < 1060


def test_the_seconds_so_far_are_part_of_the_state():
    loop, states = Loop(1, CPU, Ranks()), []
    loop.load_state_dict({"next_epoch": 0, "next_step": 1, "sums": torch.zeros(1), "seconds": 1000.0})
    loop.run_epoch(range(3), lambda number: torch.zeros(1), lambda: states.append(loop.state_dict()["seconds"]))
    assert 1000 < states[0] < states[1] < 1060


def test_a_mean_that_is_no_number_leaves_the_epoch_unfinished():
    loop = Loop(1, CPU, Ranks())
    with pytest.raises(ValueError, match="must stay finite, but epoch 0"):
        loop.run_epoch(range(3), lambda number: torch.tensor([math.inf]), None)
    assert loop.next_epoch == 0
