"""One trial trains without the identities that it is judged on, and loses nothing when it is stopped."""

import math
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.grids import made
from support.tuning import tuned

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import PER_QUERY, WEIGHTS
from pipeline.plan.stage import Plan
from pipeline.stages import retrain as retrain_stage
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace
from pipeline.tuning.trial import base_of, plan_trial, run_trial


class Reports:
    """Keeps what is reported in the place of `ray.tune.report`, and may end the trial as Tune does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.all: list[dict[str, Any]] = []
        self.stop_after = stop_after

    def __call__(self, metrics: dict[str, Any]) -> None:
        self.all.append(metrics)
        if len(self.all) == self.stop_after:
            raise SystemExit(0)


def trial_of(experiment: Experiment, workspace: Workspace, lr: float, rungs: list[int]) -> dict[str, Any]:
    """Return the arguments of `run_trial`."""
    assert experiment.tune is not None
    return {
        "config": {"number": 0, "values": {"lr": lr}},
        "base": base_of(experiment),
        "hold_out": experiment.tune.hold_out,
        "fingerprints": {},
        "address": workspace.address,
        "rungs": rungs,
    }


@pytest.fixture(autouse=True)
def no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that run in this process have no node that Ray could take away."""
    monkeypatch.setattr("pipeline.tuning.trial.Notice", lambda: lambda: False)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace whose dataset is prepared once."""
    return made(tmp_path_factory.mktemp("tuning"))


def identities(paths: list[str], planned: Plan, workspace: Workspace) -> set[Any]:
    """Return who is on some pictures, which must be of the training set."""
    from msinet.data.packed import PackedDataset

    prepare = next(planned.of_kind("prepare")).result
    assert prepare is not None
    by_path = {r.path: r for r in PackedDataset(workspace.files(prepare) / "shards").records}
    assert {by_path[path].subset for path in paths} == {"train"}, "never a query, never the gallery"
    return {by_path[path].pid for path in paths}


def test_a_stopped_trial_continues_and_judges_on_whom_it_never_saw(
    tiny: dict[str, Any], shared: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[str] = []
    whole = retrain_stage.train_batches

    def spy(context: Any, packed: Any, records: Any, *rest: Any) -> Any:
        trained_on.extend(record.path for record in records)
        return whole(context, packed, records, *rest)

    monkeypatch.setattr(retrain_stage, "train_batches", spy)
    experiment = tuned(tiny, asha={"grace_epochs": 1, "reduction_factor": 2})
    stopped, again = Reports(stop_after=1), Reports()
    monkeypatch.setattr("ray.tune.report", stopped)
    with pytest.raises(SystemExit):
        run_trial(**trial_of(experiment, shared, 0.01, [1]))
    assert [report["epoch"] for report in stopped.all] == [1]
    assert len(list(shared.root.glob(f"stages/retrain/*/attempts/*/{CHECKPOINT}"))) == 1  # type: ignore[union-attr]
    assert not list(shared.root.glob(f"stages/retrain/*/{RESULT}"))  # type: ignore[union-attr]

    monkeypatch.setattr("ray.tune.report", again)
    run_trial(**trial_of(experiment, shared, 0.01, [1]))
    assert [report.get("epoch") for report in again.all] == [None], "the first epoch is not run again"
    assert again.all[-1]["published"] is True

    planned = plan_trial(base_of(experiment), {"lr": 0.01}, 30, {}, shared)
    assert all(stage.result for stage in planned.stages.values())
    retrain, evaluation = (next(planned.of_kind(kind)).result for kind in ("retrain", "evaluate"))
    assert retrain is not None
    assert evaluation is not None
    assert retrain["spec"]["recipe"]["lr"] == 0.01
    assert again.all[-1]["mAP"] == evaluation["metrics"]["mAP"]
    table = pq.read_table(shared.files(evaluation) / PER_QUERY).to_pydict()
    scores = [score for score in table["average_precision"] if not math.isnan(score)]
    assert evaluation["metrics"]["mAP"] == pytest.approx(sum(scores) / len(scores))
    taught, judged = identities(trained_on, planned, shared), identities(table["path"], planned, shared)
    assert (len(taught), len(judged)) == (7, 3)
    assert max(taught) < min(judged), "the last ones are held out"

    undisturbed = made(shared.root.parent / "undisturbed")  # type: ignore[union-attr]
    run_trial(**trial_of(experiment, undisturbed, 0.01, []))
    other = next(plan_trial(base_of(experiment), {"lr": 0.01}, 30, {}, undisturbed).of_kind("retrain")).result
    assert other is not None
    assert (shared.files(retrain) / WEIGHTS).read_bytes() == (undisturbed.files(other) / WEIGHTS).read_bytes(), (
        "neither looking at the network nor stopping changes it"
    )


def test_a_trial_whose_node_is_taken_away_saves_its_state_and_goes_on(
    tiny: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(range(100))
    monkeypatch.setattr("pipeline.tuning.trial.Notice", lambda: lambda: next(asked) == 1)  # after the second step
    reports = Reports()
    monkeypatch.setattr("ray.tune.report", reports)
    tiny["checkpoint_every"] = 3600
    run_trial(**trial_of(tuned(tiny), workspace, 0.01, []))
    assert [report.get("stopped") for report in reports.all] == [True]
    assert len(list(workspace.root.glob(f"stages/retrain/*/attempts/*/{CHECKPOINT}"))) == 1  # type: ignore[union-attr]
    run_trial(**trial_of(tuned(tiny), workspace, 0.01, []))
    assert reports.all[-1]["published"] is True


def test_a_training_that_diverges_is_a_trial_that_failed(
    tiny: dict[str, Any], shared: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = Reports()
    monkeypatch.setattr("ray.tune.report", reports)
    run_trial(**trial_of(tuned(tiny), shared, 1e30, []))
    assert "the losses must stay finite" in reports.all[-1]["failure"]
