"""A budget stops new stages when its hours are spent, says what was left, and changes no result."""

import json
import time
from typing import Any

import pytest
from support.filled import answer_all, filled
from support.grids import quiet

from pipeline.cluster import driver as driver_module
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, WAITING
from pipeline.config.budget import Budget
from pipeline.config.experiment import Experiment
from pipeline.plan import costs as costs_module
from pipeline.plan.choice import chosen
from pipeline.plan.costs import Costs, Spent, costs_of
from pipeline.plan.efforts import Effort, efforts_of, hours_of, lost_hours
from pipeline.plan.estimate import Hours
from pipeline.plan.stage import Stage
from pipeline.plan.unfold import plan
from pipeline.results import Ended, Failed, Failure, Result
from pipeline.stages.attempt import execute
from pipeline.storage import leases
from pipeline.storage.workspace import Workspace
from pipeline.tracking.facts import specification


class Here:
    """Runs stages in this process at once, in the place of Ray."""

    def __init__(self) -> None:
        self.ended: dict[object, Ended] = {}
        self.posts: list[Any] = []  # what the workers tell, as `Board.fetch` returns it

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
            return here.posts

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
    assert Spent(again.results().values()).hours > 1e-9
    before = len(here.ended)
    assert run_plan(again, workspace, [], here).names(DONE) == ["prepare street"]
    assert len(here.ended) == before, "nothing was started"
    datasets = chosen(plan(experiment_of(tiny, 100)), "prepare")
    assert set(run_plan(datasets, workspace, [], here).states.values()) == {DONE}


def test_a_driver_counts_an_attempt_that_was_lost(
    tiny: dict[str, Any], workspace: Workspace, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost_after_two_hours(address: str, task: Any, board: Any, holder: str) -> object:
        here.posts = [(task.key, time.time() - 7200)]
        reference = object()
        here.ended[reference] = Failed(Failure("its worker was lost", retry="again"))
        return reference

    monkeypatch.setattr(here, "remote", lost_after_two_hours)
    outcome = run_plan(plan(experiment_of(tiny, 1.5)), workspace, [], here)
    assert set(outcome.states.values()) == {WAITING}
    assert len(here.ended) == 1, "nothing is tried again"


def test_a_budget_is_part_of_no_key_and_of_no_identity_in_mlflow(tiny: dict[str, Any]) -> None:
    without, with_one = (Experiment.model_validate(tiny | more) for more in ({}, {"budget": {"hours": 40}}))
    keys = [{name: stage.key for name, stage in plan(e).stages.items()} for e in (without, with_one)]
    assert keys[0] == keys[1]
    assert specification(without) == specification(with_one)


def result(key: str, seconds: float, **more: Any) -> Result:
    return {"kind": "retrain", "key": key, "seconds": seconds, "spec": {}, **more}


def test_hours_count_equal_work_once_and_every_worker() -> None:
    assert Spent([result("a", 3600), result("a", 3600), result("b", 1800)]).hours == 1.5
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


def test_a_running_sum_looks_at_each_result_once(
    tiny: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver asks at every tick, and a grid has thousands of stages."""
    results = [result(f"{number}", 360 * number) for number in range(50)]
    looked = []
    monkeypatch.setattr(costs_module, "hours_of", lambda *given: looked.append(given) or hours_of(*given))
    spent = Spent(results[:10])
    for one in results[10:]:
        spent.finish(one)
        spent.finish(one)
        assert spent.hours >= 0
    assert spent.hours == pytest.approx(sum(map(hours_of, results)))
    assert len(looked) == len(results)
    spent.lose("50", 0.5)
    spent.finish(result("50", 360, train_seconds=1800))
    assert spent.hours == pytest.approx(sum(map(hours_of, results)) + 0.6), "a lost half hour, and the last attempt"


def lease(workspace: Workspace, key: str, number: int, since: float, last: float) -> None:
    content = {"holder": "a driver", "until": 0.0, "seconds": 60.0, "since": since, "last": last}
    workspace.store.create(f"stages/retrain/{key}/leases/{number}.json", json.dumps(content).encode())


def test_attempts_without_a_result_are_counted(tiny: dict[str, Any], workspace: Workspace) -> None:
    def answer(stage: Stage) -> Result | None:
        found = {**result(stage.name, 3600, **answer_all(stage), kind=stage.kind), "started": 10_000}
        return None if stage.labels.get("seed") == 1 and stage.kind == "retrain" else _prepared(found)

    plan = filled({**tiny, "retrain_seeds": [0, 1], "budget": {"hours": 100}}, answer)
    done, failed = plan.of_kind("retrain")
    lease(workspace, done.key, 1, 0, 1800)  # killed
    lease(workspace, done.key, 2, 10_000, 13_601)  # published its result
    lease(workspace, done.key, 3, 13_700, 13_701)  # a driver on another machine, too late
    lease(workspace, failed.key, 1, 0, 7200)
    workspace.store.create(f"stages/retrain/{failed.key}/leases/2.json", b'{"holder": "of an older version"}')
    for number in range(2):
        workspace.store.create(f"stages/retrain/{failed.key}/attempts/{number}/failure.json", b"{}")
    efforts = efforts_of(plan, workspace)
    assert efforts[done.key] == Effort(pytest.approx(1.5 + 1 / 3600), pytest.approx(0.5 + 1 / 3600), 0)
    assert efforts[failed.key] == Effort(2.0, 2.0, 2)
    costs = costs_of(plan, workspace)
    assert costs.spent["retrain"] == pytest.approx(3.5 + 1 / 3600)
    assert costs.lost == pytest.approx(2.5 + 1 / 3600)
    assert "of these, attempts that ended without a result took 2.5 hours" in str(costs)
    spent = Spent(plan.results().values())
    for stage in (done, failed):
        for _ in range(2):
            spent.lose_earlier(workspace, "retrain", str(stage.key), 1)
    assert spent.hours == pytest.approx(costs.hours), "a driver that starts again knows it too"


def test_a_lease_says_how_long_an_attempt_lasted(workspace: Workspace) -> None:
    held = leases.take(workspace.store, "stages/retrain/key/leases", "driver", 60)
    assert held is not None
    assert 3600 * lost_hours(workspace, "retrain", "key", 1, None) < 0.05, "it has just begun"
    with held:
        time.sleep(0.1)
    assert 0.1 <= 3600 * lost_hours(workspace, "retrain", "key", 1, None) < 5
    assert lost_hours(workspace, "retrain", "key", 4, None) == 4 * lost_hours(workspace, "retrain", "key", 1, None)


def _prepared(found: Result | None) -> Result | None:
    return found and {**found, "images": {"train": 100}}
