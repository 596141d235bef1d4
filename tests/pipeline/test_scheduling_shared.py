"""A driver on a workspace where another publishes at the same time."""

from typing import Any

import pytest
import ray
from grids import tiny_document

from pipeline.config import Experiment
from pipeline.plan import Plan, Result, plan
from pipeline.scheduling import DONE, run_plan
from pipeline.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")


class JustPublished(Workspace):
    """Each result appears just after it was looked for in vain."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.looked: set[str] = set()

    def result(self, kind: str, key: str) -> Result | None:
        if key in self.looked:
            return super().result(kind, key)
        self.looked.add(key)
        return None


@ray.remote
def never(*arguments: Any) -> Any:
    """Nothing has to be run."""
    raise AssertionError("everything is published")


def test_what_needs_a_result_that_appears_late_is_not_left_out(finished: tuple[Plan, Workspace]) -> None:
    _, workspace = finished
    planned = plan(Experiment.model_validate(tiny_document()))
    outcome = run_plan(planned, JustPublished(workspace.address), [], never)
    assert set(outcome.states.values()) == {DONE}
