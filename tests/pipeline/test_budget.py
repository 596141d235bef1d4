"""A budget stops new stages when its hours are spent, says what was left, and changes no result."""

from typing import Any

import pytest
from support.filled import answer_all, filled
from support.grids import quiet

from pipeline.cluster import driver as driver_module
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, WAITING
from pipeline.config.budget import Budget
from pipeline.config.experiment import Experiment
from pipeline.plan.choice import chosen
from pipeline.plan.costs import Costs, costs_of, hours_of, spent_hours
from pipeline.plan.estimate import Hours
from pipeline.plan.stage import Stage
from pipeline.plan.unfold import plan
from pipeline.results import Ended, Result
from pipeline.stages.attempt import execute
from pipeline.storage.workspace import Workspace
from pipeline.tracking.facts import specification


class Here:
    """Runs stages in this process at once, in the place of Ray."""

    def __init__(self) -> None:
        self.ended: dict[object, Ended] = {}

    def options(self, **options: Any) -> "Here":
        return self

    def remote(self, address: str, task: Any, board: Any, holder: str) -> object:
        reference = object()
        self.ended[reference] = execute(address, task, quiet, holder=holder)
        return reference


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return what a driver needs to work without Ray."""
    here = Here()

    class Quiet:
        board = None

        def posts(self) -> list[Any]:
            return []

        def require(self) -> None:
            pass

    monkeypatch.setattr(driver_module, "Mailbox", Quiet)
    monkeypatch.setattr(driver_module, "Pulse", Quiet)
    monkeypatch.setattr(driver_module.ray, "wait", lambda references, timeout: (references, []))
    monkeypatch.setattr(driver_module, "ended_of", lambda reference: here.ended[reference])
    return here


def experiment_of(document: dict[str, Any], hours: float) -> Experiment:
    resources = {"max_concurrent": 1, **{kind: {"gpus": 0} for kind in ("search", "retrain", "evaluate")}}
    return Experiment.model_validate({**document, "resources": resources, "budget": {"hours": hours}})


def test_a_spent_budget_leaves_stages_that_a_larger_one_continues(
    tiny: dict[str, Any], workspace: Workspace, here: Here
) -> None:
    small = experiment_of(tiny, 1e-9)
    outcome = run_plan(plan(small), workspace, [], here)
    assert outcome.names(DONE) == ["prepare street"]
    assert set(outcome.names(WAITING)) == plan(small).stages.keys() - {"prepare street"}
    again = plan(small, lookup=workspace.result)
    assert spent_hours(again.results().values()) > 1e-9
    before = len(here.ended)
    assert run_plan(again, workspace, [], here).names(DONE) == ["prepare street"]
    assert len(here.ended) == before, "nothing was started"
    datasets = chosen(plan(experiment_of(tiny, 100)), "prepare")
    assert set(run_plan(datasets, workspace, [], here).states.values()) == {DONE}


def test_a_budget_is_part_of_no_key_and_of_no_identity_in_mlflow(tiny: dict[str, Any]) -> None:
    without, with_one = (Experiment.model_validate(tiny | more) for more in ({}, {"budget": {"hours": 40}}))
    keys = [{name: stage.key for name, stage in plan(e).stages.items()} for e in (without, with_one)]
    assert keys[0] == keys[1]
    assert specification(without) == specification(with_one)


def result(key: str, seconds: float, **more: Any) -> Result:
    return {"kind": "retrain", "key": key, "seconds": seconds, "spec": {}, **more}


def test_hours_count_equal_work_once_and_every_worker() -> None:
    assert spent_hours([result("a", 3600), result("a", 3600), result("b", 1800)]) == 1.5
    assert hours_of(result("a", 60, train_seconds=7200)) == 2, "the epochs of earlier attempts too"
    assert hours_of(result("a", 3600, spec={"workers": 4})) == 4


@pytest.mark.parametrize(
    ("budget", "left", "lines"),
    [
        (None, None, ["spent: 3.5 hours (search 0.50, retrain 3.0)"]),
        (Budget(hours=40), Hours(30, False), ["spent: 3.5 hours", "budget: 40 hours, of which 36.5 are left"]),
        (
            Budget(hours=10, price_per_hour=2),
            Hours(30, False),
            [
                "spent: 3.5 hours, which cost 7.00",
                "budget: 10 hours, of which 6.5 are left",
                "the budget does not suffice: the rest takes about 30.0 hours, which cost 60.00 (budget.hours)",
            ],
        ),
    ],
)
def test_costs_are_told(budget: Budget | None, left: Hours | None, lines: list[str]) -> None:
    told = str(Costs({"search": 0.5, "retrain": 3.0}, left, budget)).splitlines()
    assert len(told) == len(lines)
    assert all(line.startswith(start) for line, start in zip(told, lines, strict=True))


def test_costs_of_a_plan(tiny: dict[str, Any], workspace: Workspace) -> None:
    def answer(stage: Stage) -> Result | None:
        return None if stage.kind == "retrain" else result(stage.name, 360, **answer_all(stage), kind=stage.kind)

    tiny["budget"] = {"hours": 10}
    costs = costs_of(filled(tiny, lambda stage: _prepared(answer(stage))), workspace)
    assert costs.spent == pytest.approx({"prepare": 0.2, "search": 0.1})
    assert costs.left is not None
    assert costs.left.by_core, "nothing was measured in this workspace"
    assert costs.left.hours > 0


def _prepared(found: Result | None) -> Result | None:
    return found and {**found, "images": {"train": 100}}
