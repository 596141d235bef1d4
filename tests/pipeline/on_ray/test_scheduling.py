"""The driver on a real Ray: everything runs once, a failure fails alone, and watchers are told."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants

from pipeline.cluster import board, connect, ray_private, worker
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, FAILED, SKIPPED, Watcher
from pipeline.config.experiment import Experiment
from pipeline.config.resources import Resources
from pipeline.errors import ClusterLost
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")


class Listener(Watcher):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.epochs: dict[str, list[int]] = {}
        self.ended: list[str] = []
        self.lost: dict[str, str] = {}
        self.last: dict[str, str] = {}
        self.again: list[tuple[str, str]] = []

    def started(self, stage: Stage) -> None:
        self.begun.append(stage.name)

    def reported(self, stage: Stage, reports: Sequence[dict[str, Any]]) -> None:
        self.epochs.setdefault(stage.name, []).extend(report["epoch"] for report in reports)

    def finished(self, stage: Stage) -> None:
        self.ended.append(stage.name)

    def failed(self, stage: Stage, failure: Failure) -> None:
        self.lost[stage.name] = failure.message

    def retried(self, stage: Stage, reason: str) -> None:
        self.again.append((stage.name, reason))

    def tick(self, states: dict[str, str]) -> None:
        self.last = states


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that the tests of this file share: what one has prepared the next finds."""
    return Workspace(tmp_path_factory.mktemp("grid"))


def test_a_grid_runs_to_its_end_once(tiny: dict[str, Any], prepared: Workspace) -> None:
    tiny["splits"], tiny["genotypes"], tiny["rank"] = ["60-80"], ["MSINet", "GGEGAGGNGAEA"], True
    experiment = Experiment.model_validate(tiny)
    listener = Listener()
    planned = plan(experiment, lookup=prepared.result)
    outcome = run_plan(planned, prepared, [listener])
    assert set(outcome.states.values()) == {DONE}
    assert set(listener.ended) == set(planned.stages)
    search = next(planned.of_kind("search")).name
    assert listener.epochs[search] == [0, 1]
    scored = [stage.result["metrics"]["mAP"] for stage in planned.of_kind("score") if stage.result]
    assert len(scored) == 3
    assert all(0 <= mAP <= 1 for mAP in scored)
    # A published name and its letters are one genotype: one retraining, two rows of the plan.
    named = [s for s in planned.of_kind("retrain") if s.labels["origin"] in ("MSINet", "GGEGAGGNGAEA")]
    assert len({stage.key for stage in named}) == 1
    assert sum(stage.name in listener.begun for stage in named) == 1
    for stage in planned.stages.values():
        attempts = list(prepared.root.glob(f"stages/{stage.kind}/{stage.key}/attempts/*"))  # type: ignore[union-attr]
        assert len(attempts) == 1, "nothing ran twice"

    again = Listener()
    replanned = plan(experiment, lookup=prepared.result)
    assert all(stage.result for stage in replanned.stages.values())
    run_plan(replanned, prepared, [again])
    assert again.begun == []


def test_a_stage_that_fails_fails_alone(tiny: dict[str, Any], prepared: Workspace, tmp_path: Path) -> None:
    from msinet.data import synthetic

    folder = tmp_path / "damaged"
    synthetic.write(synthetic.SyntheticSpec(train_ids=10, test_ids=4, height=32), folder)
    tiny["datasets"]["damaged"] = {"kind": "manifest", "path": str(folder)}
    tiny["sources"], tiny["targets"] = ["street", "damaged"], ["street"]
    planned = plan(Experiment.model_validate(tiny), {"damaged": "checked-earlier"}, prepared.result)
    shutil.rmtree(folder / "train")  # after the check, before the run
    listener = Listener()
    outcome = run_plan(planned, prepared, [listener])
    assert outcome.names(FAILED) == ["prepare damaged"]
    assert listener.again == [], "what is wrong with the data is wrong in each attempt"
    assert {name.split()[1] for name in outcome.names(SKIPPED)} == {"damaged"}
    assert all(outcome.states[s.name] == DONE for s in planned.stages.values() if s.labels.get("source") == "street")
    assert "must be there" in listener.lost["prepare damaged"]
    assert "because `prepare damaged` failed" in listener.lost["search damaged 60-80 seed 0"]
    key = planned.stages["prepare damaged"].key
    assert prepared.last_failure("prepare", str(key)) is not None


def test_no_more_at_a_time_than_asked(tiny: dict[str, Any], workspace: Workspace) -> None:
    tiny["resources"] = {"max_concurrent": 1}
    tiny["splits"], tiny["genotypes"], tiny["targets"] = [], ["MSINet"], ["street"]
    busiest = 0

    class Counter(Listener):
        def tick(self, states: dict[str, str]) -> None:
            nonlocal busiest
            busiest = max(busiest, sum(state in ("queued", "running") for state in states.values()))

    outcome = run_plan(plan(Experiment.model_validate(tiny)), workspace, [Counter()])
    assert set(outcome.states.values()) == {DONE}
    assert busiest == 1


def prepare_only(tiny: dict[str, Any]) -> Plan:
    built = plan(Experiment.model_validate(tiny))
    return Plan(built.experiment, {stage.name: stage for stage in built.of_kind("prepare")})


def test_a_board_that_never_answers_stops_nothing(
    tiny: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute:
        def post(self, key: str, report: Any) -> None: ...

        def fetch(self) -> None:
            time.sleep(3600)

    monkeypatch.setattr(board, "Board", ray.remote(num_cpus=0)(Mute))
    outcome = run_plan(prepare_only(tiny), workspace, [])
    assert set(outcome.states.values()) == {DONE}


def test_a_driver_without_its_ray_blames_no_stage(
    tiny: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*arguments: Any, **options: Any) -> None:
        raise ray.exceptions.LocalRayletDiedError

    listener = Listener()
    with monkeypatch.context() as patch:
        patch.setattr(worker.ray, "get", dead)
        with pytest.raises(ClusterLost, match="run the same command again"):
            run_plan(prepare_only(tiny), workspace, [listener])
    assert listener.lost == {}


@pytest.mark.parametrize(
    ("address", "resources", "there", "told"),
    [
        ("auto", {}, {"CPU": 8.0}, True),
        ("auto", {}, {"CPU": 8.0, "GPU": 1.0}, False),
        ("auto", {kind: {"gpus": 1} for kind in KINDS}, {"CPU": 8.0}, False),
        (None, {}, {"CPU": 8.0}, False),
    ],
)
def test_joining_a_cluster_without_a_gpu_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    address: str | None,
    resources: dict[str, Any],
    there: dict[str, float],
    told: bool,
) -> None:
    monkeypatch.setattr(connect.ray, "init", lambda **options: None)
    monkeypatch.setattr(connect.ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(ray_private.ray_constants, "ENABLE_RAY_CLUSTER", ray_constants.ENABLE_RAY_CLUSTER)
    connect.connect(address, Resources.model_validate(resources))
    lines = [record.getMessage() for record in caplog.records if record.name == connect.__name__]
    assert [("no GPU" in line, "search, retrain" in line) for line in lines] == [(True, True)] * told
