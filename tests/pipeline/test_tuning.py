"""The outer loop: what may be asked for, who is held out, and that no trial is lost or doubled."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.config.load import describe_errors, load_experiment
from pipeline.config.tune import Tune, slots_of
from pipeline.errors import RequestError
from pipeline.plan.kinds import PER_QUERY, WEIGHTS
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.results import Result
from pipeline.stages import retrain as retrain_stage
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace
from pipeline.tuning import fronts, searcher, studies
from pipeline.tuning.outer import Outer
from pipeline.tuning.searcher import Broken, StudySearcher, halving
from pipeline.tuning.studies import Trials, mend, open_storage, open_study
from pipeline.tuning.trial import base_of, plan_trial, run_trial

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("ray")
TUNE: dict[str, Any] = {"source": "street", "hold_out": 30, "trials": 4, "sampler": "random"}
RETRAIN = {"genotype": "MSINet", "space": {"retrain": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}}}


def document(tiny: dict[str, Any], **tune: Any) -> dict[str, Any]:
    """The tiny experiment with an outer loop and nothing else to do."""
    return {**tiny, "splits": [], "targets": [], "tune": {**TUNE, **RETRAIN, **tune}}


def tuned(tiny: dict[str, Any], **tune: Any) -> Experiment:
    return Experiment.model_validate(document(tiny, **tune))


# What may be asked for


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"space": {"retrain": {"lrr": [1, 2]}}}, "`lrr` is no number of a retraining. Did you mean `lr`?"),
        ({"space": {"retrain": {"lr": {"low": 1, "high": 0.1}}}}, "low < high, but got 1.0 and 0.1"),
        ({"space": {"retrain": {"lr": {"low": 0, "high": 1, "log": True}}}}, "must start above 0"),
        ({"space": {"retrain": {"lr": {"low": -1, "high": 1}}}}, "`lr` must be positive"),
        ({"space": {"retrain": {"epochs": {"low": 1, "high": 5}}}}, "`epochs` must be given as a list"),
        ({"space": {"retrain": {"alignment": ["none", "pos_nag"]}}}, "'pos_nag'"),
        ({"space": {"retrain": {"batch_size": [9]}}}, "`batch_size` must be a multiple of `num_instances`"),
        ({"space": {"retrain": {"lr": []}}}, "at least one value"),
        ({"space": {}}, "a space must hold"),
        ({"spice": {}}, "unknown key `tune.spice`. Did you mean `space`?"),
        ({"source": "campus"}, "`tune.source` must be one of `sources`, but got 'campus'"),
        ({"genotype": None}, "`genotype` must be given where the space has none"),
        ({"genotype": "MSINett"}, "MSINett"),
        ({"objectives": ["latency_ms"]}, "objectives must hold mAP"),
        ({"objectives": ["mAP", "parameters"]}, "`space.genotype: true`"),
        ({"constraints": {"latency_ms": 5}}, "`space.genotype: true`"),
        (
            {"space": {"genotype": True}, "objectives": ["mAP", "parameters"], "asha": {"grace_epochs": 1}},
            "`asha` compares by mAP alone, but the objectives are mAP, parameters",
        ),
        ({"asha": {"grace_epochs": 2}}, "below the recipe's epochs, but got 2 of 2"),
        ({"asha": {"grace_epochs": 1}, "space": {"retrain": {"epochs": [1, 2]}}}, "trainings of one length"),
    ],
)
def test_a_wrong_section_is_told(tiny: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as error:
        tuned(tiny, **change)
    assert sentence in "\n".join(describe_errors(error.value))


def test_an_experiment_may_be_nothing_but_an_outer_loop(tiny: dict[str, Any]) -> None:
    experiment = tuned(tiny)
    assert [stage.kind for stage in plan(experiment).stages.values()] == ["prepare"], "`run` leaves it alone"


def test_a_password_is_never_shown(tiny: dict[str, Any], tmp_path: Path) -> None:
    url = "postgresql://me:secret@nowhere.invalid/studies"
    experiment = tuned(tiny, storage=url)
    assert "secret" not in str(experiment) + str(experiment.model_dump(mode="json"))
    with pytest.raises(RequestError) as error:
        open_storage(url)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_workspace_on_s3_needs_a_place_for_the_study(tiny: dict[str, Any], workspace: Workspace) -> None:
    workspace.root = None
    with pytest.raises(RequestError, match="needs a place of its own"):
        Outer(tuned(tiny), workspace, print).load()


def test_a_journals_path_starts_at_the_file(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document(tiny, storage="studies/mine.log")))
    loaded = load_experiment(path)
    assert loaded.tune is not None
    assert loaded.tune.storage is not None
    assert loaded.tune.storage.get_secret_value() == str(tmp_path / "studies" / "mine.log")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tune": None}, "must have a section `tune`"),
        ({"tune": {**TUNE, **RETRAIN, "hold_out": 80}}, "a batch takes 4 identities, but 'street' has 2"),
        ({"tune": {**TUNE, **RETRAIN, "hold_out": 10}}, "raise `tune.hold_out`"),
    ],
)
def test_a_wrong_request_ends_with_2(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({**tiny, **change}))
    with pytest.raises(SystemExit) as ended:
        main(["tune", str(path), "--workspace", str(tmp_path / "workspace")])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


# Keys


def keys_of_a_published_genotype(hold_out: int | None = None) -> dict[str, str | None]:
    """Of the stages that retrain MSINet on a Market1501 of made-up fingerprints."""
    experiment = Experiment.model_validate(
        {
            "name": "n",
            "datasets": {"market": {"kind": "market1501", "path": "/m"}},
            "sources": ["market"],
            "targets": ["market"],
            "genotypes": ["MSINet"],
            "measure": True,
        }
    )

    def published(kind: str, key: str) -> Result | None:
        if kind == "prepare":
            return {"train_fingerprint": "t", "fingerprint": "f", "protocol": "fixed", "key": key}
        return {"key": key} if kind == "retrain" else None

    planned = plan(experiment, {"market": "f"}, published, hold_out=hold_out)
    planned.name_device("cpu")
    planned.resolve(lambda kind, key: None)
    return {f"{stage.kind} {stage.labels.get('network')}": stage.key for stage in planned.stages.values()}


def test_ordinary_keys_are_what_they_were_before_there_was_an_outer_loop() -> None:
    assert keys_of_a_published_genotype() == {
        "prepare None": "0acc0c79cdf1f0732135b860c084542d",
        "retrain msinet": "6b355671de84f2c207436c8af98b1f31",
        "evaluate msinet": "f8f6cdf0508f51d7c9c6d110283a10ba",
        "measure resnet50": "dd7586603812d0c0f44fd28dc0df71f0",
        "measure msinet": "071bf74c21c5771c60c26d400ba9e0a4",
    }


def test_what_is_held_out_is_in_the_keys() -> None:
    ordinary, fifth, third = (keys_of_a_published_genotype(hold_out) for hold_out in (None, 20, 33))
    assert ordinary["prepare None"] == fifth["prepare None"]
    for name in ("retrain msinet", "evaluate msinet"):
        assert len({ordinary[name], fifth[name], third[name]}) == 3
    assert fifth["measure msinet"] == third["measure msinet"] != ordinary["measure msinet"], "one picture at a time"
    assert "measure resnet50" not in fifth


# A trial


class Reports:
    """In the place of `ray.tune.report`: keeps what is reported, and may end the trial as Tune does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.all: list[dict[str, Any]] = []
        self.stop_after = stop_after

    def __call__(self, metrics: dict[str, Any]) -> None:
        self.all.append(metrics)
        if len(self.all) == self.stop_after:
            raise SystemExit(0)


def trial_of(experiment: Experiment, workspace: Workspace, lr: float, rungs: list[int]) -> dict[str, Any]:
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
    """A workspace whose dataset is prepared once."""
    return Workspace(tmp_path_factory.mktemp("tuning"))


def identities(paths: list[str], planned: Plan, workspace: Workspace) -> set[Any]:
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

    undisturbed = Workspace(shared.root.parent / "undisturbed")  # type: ignore[union-attr]
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


# The study


def genotypes(**more: Any) -> Tune:
    """An outer loop over genotypes; `latency_ms` is asked for."""
    section = {"objectives": ["mAP", "latency_ms"], "constraints": {"latency_ms": 5}, "space": {"genotype": True}}
    return Tune.model_validate({**TUNE, "trials": 24, **section, **more})


def latency(values: dict[str, Any]) -> dict[str, float]:
    """Cross attention is slow."""
    return {"latency_ms": 2.0 + sum(letter == "A" for letter in values.values())}


def score(values: dict[str, Any]) -> float:
    """But it finds more."""
    return sum({"A": 0.06, "E": 0.03, "G": 0.02}.get(value, 0.0) for value in values.values())


class Driver:
    """An outer loop without Ray: trials end as soon as they are told to."""

    def __init__(self, tune: Tune, place: Path | str, look: Any = latency, *, alone: bool = False) -> None:
        mend(str(place))
        self.study = open_study("s", tune, open_storage(str(place)), {"space": "genotypes"})
        self.said: list[str] = []
        self.trials = Trials(self.study, tune, look, self.said.append)
        self.searcher = StudySearcher(self.trials, tune.concurrent, alone=alone)
        self.live: dict[str, dict[str, Any]] = {}

    def start(self) -> bool:
        name = f"t{len(self.live)}-{time.monotonic_ns()}"
        config = self.searcher.suggest(name)
        if isinstance(config, dict):
            self.live[name] = config
            return True
        assert config == (None if self.live else StudySearcher.FINISHED)
        return False

    def end(self) -> None:
        name, config = next(iter(self.live.items()))
        result = {"mAP": score(config["values"]), "published": True, "seconds": 1.0}
        self.searcher.on_trial_complete(name, result)
        self.searcher.on_trial_complete(name, result)  # Tune may say so twice
        del self.live[name]

    def run(self) -> None:
        while self.start() or self.live:
            while self.start():
                pass
            self.end()


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_ends_in_a_feasible_front(sampler: str, tmp_path: Path) -> None:
    driver = Driver(genotypes(sampler=sampler, concurrent=3, genotype="NNNNNNNNNNNN"), tmp_path / "journal.log")
    driver.run()
    trials = driver.study.trials
    assert len(trials) == 24
    assert trials[0].params == slots_of("NNNNNNNNNNNN"), "the genotype that was named comes first"
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == 24
    for trial in trials:
        too_slow = latency(trial.params)["latency_ms"] > 5
        assert (trial.state.name == "PRUNED") == too_slow, "what is beyond the bound was not trained"
        assert trial.constraints == {"latency_ms": latency(trial.params)["latency_ms"] - 5}
    front = fronts.front_of(driver.study, driver.trials.tune)
    found = [(score(trial.params), latency(trial.params)["latency_ms"]) for trial in front]
    assert found == sorted(found, reverse=True)
    assert len(front) >= 2
    for mAP, ms in found:
        assert ms <= 5
        assert not any(score(t.params) > mAP and latency(t.params)["latency_ms"] <= ms for t in trials)
    assert len(driver.said) == 24


@pytest.mark.parametrize(
    ("storage", "sampler"), [("journal.log", "tpe"), ("journal.log", "nsga2"), ("sqlite", "random")]
)
def test_after_a_kill_no_trial_is_lost_or_doubled(storage: str, sampler: str, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/study.db" if storage == "sqlite" else tmp_path / storage
    tune = genotypes(trials=12, concurrent=3, sampler=sampler, constraints={})
    killed = Driver(tune, place)
    for _ in range(3):
        killed.start()
    killed.end()
    killed.start()
    under_way = list(killed.live.values())
    assert len(under_way) == 3
    del killed
    if storage != "sqlite":
        with Path(place).open("ab") as file:
            file.write(b'{"op_code":4,"worker')  # half a line

    looked: list[Any] = []

    def look(values: dict[str, Any]) -> dict[str, float]:
        looked.append(values)
        return latency(values)

    driver = Driver(tune, place, look)
    for _ in range(3):
        driver.start()
    assert list(driver.live.values()) == under_way, "same numbers, same values"
    assert not looked, "what was known of them still is"
    driver.run()
    trials = driver.study.trials
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len({str(trial.params) for trial in trials}) == 12, "the sampler does not draw again what it drew before"
    assert Driver(tune, place).start() is False


@pytest.mark.parametrize("alone", [True, False])
def test_a_trial_that_is_asked_to_end_is_handed_out_again(alone: bool, tmp_path: Path) -> None:
    tune = genotypes(trials=2, concurrent=2, constraints={})
    driver = Driver(tune, tmp_path / "journal.log", alone=alone)
    driver.searcher.fill()
    assert driver.start()
    assert driver.start()
    (name, config), _ = driver.live.items()
    driver.searcher.on_trial_complete(name, {"mAP": 0.0, "stopped": True})
    del driver.live[name]
    if alone:
        driver.end()
        assert driver.searcher.fill()
    assert driver.start()
    assert config in driver.live.values(), "same number, same values"
    while driver.live:
        driver.end()
    assert not driver.searcher.fill()
    assert [trial.state.name for trial in driver.study.trials] == ["COMPLETE"] * 2


def test_a_study_of_something_else_is_not_mixed_with(tmp_path: Path) -> None:
    place = str(tmp_path / "journal.log")
    open_study("s", genotypes(), open_storage(place), {"recipe": 1, "space": 2})
    with pytest.raises(RequestError, match="its trials were made with another recipe"):
        open_study("s", genotypes(), open_storage(place), {"recipe": 2, "space": 2})


def test_trials_that_all_fail_end_the_loop(tmp_path: Path) -> None:
    driver = Driver(genotypes(constraints={}), tmp_path / "journal.log")
    for _ in range(searcher.TOO_MANY):
        assert driver.start()
        name, _ = driver.live.popitem()
        driver.searcher.on_trial_complete(name, {"mAP": 0.0, "failure": "the losses must stay finite"})
    assert driver.start() is False
    assert driver.searcher.problem == "3 trials in a row have failed"
    assert [trial.state.name for trial in driver.study.trials] == ["PRUNED"] * 3


def test_a_device_that_cannot_measure_ends_the_loop(tmp_path: Path) -> None:
    def look(values: dict[str, Any]) -> dict[str, float]:
        raise Broken("no such device")

    driver = Driver(genotypes(), tmp_path / "journal.log", look)
    assert driver.start() is False
    assert driver.searcher.problem == "no such device"


def test_measured_trials_start_together_when_nothing_runs(tmp_path: Path) -> None:
    driver = Driver(genotypes(concurrent=2, constraints={}, trials=3), tmp_path / "journal.log", alone=True)
    assert driver.searcher.fill()
    for _ in range(2):
        assert driver.start()
    assert driver.searcher.suggest("another") == StudySearcher.FINISHED, "Tune ends with them"
    asked = len(driver.study.trials)
    driver.end()
    assert not driver.searcher.fill(), "a measurement is not taken beside a training"
    assert len(driver.study.trials) == asked == 2
    driver.end()
    assert not driver.searcher.busy
    assert driver.searcher.fill()
    assert driver.start()
    driver.end()
    assert not driver.searcher.fill()


# Early stopping


def test_halving_stops_the_worse_also_after_a_kill(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["retrain"]["in_domain"]["epochs"] = 9
    experiment = tuned(tiny, asha={"grace_epochs": 2, "reduction_factor": 2}, trials=6)
    tune = experiment.tune
    assert tune is not None
    assert tune.asha is not None
    assert tune.asha.rungs(9) == [2, 4, 8]
    driver = Driver(tune, tmp_path / "journal.log", look=lambda values: {})

    def rung(of: Driver, scheduler: Any, name: str, epoch: int, mAP: float) -> str:
        trial: Any = SimpleNamespace(trial_id=name)
        if not any(name in str(rungs) for rungs in scheduler._brackets[0]._rungs):
            scheduler.on_trial_add(None, trial)
        result = {"epoch": epoch, "mAP": mAP}
        decision: str = scheduler.on_trial_result(None, trial, result)
        tell = of.searcher.on_trial_complete if decision == "STOP" else of.searcher.on_trial_result
        tell(name, result)
        return decision

    scheduler = halving(experiment, driver.study)
    for number, mAP in enumerate((0.5, 0.6)):
        assert driver.start()
        name = next(iter(driver.live))
        assert rung(driver, scheduler, name, 2, mAP) == "CONTINUE"
        if number == 0:
            driver.searcher.on_trial_complete(name, {"mAP": mAP, "published": True, "seconds": 1.0})
            driver.live.popitem()

    again = Driver(tune, tmp_path / "journal.log", look=lambda values: {})
    scheduler = halving(experiment, again.study)
    assert again.start(), "the one that was under way"
    assert rung(again, scheduler, next(iter(again.live)), 4, 0.7) == "CONTINUE"
    again.end()
    assert again.start()
    assert rung(again, scheduler, next(iter(again.live)), 2, 0.4) == "STOP", "below what the killed driver has seen"
    states = [trial.state.name for trial in again.study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert again.study.trials[-1].intermediate_values == {2: 0.4}
    assert "stopped early, mAP 40.0 % after 2 epochs" in again.said[-1]


# How it ends


def test_the_front_is_a_table_a_picture_and_experiments(tiny: dict[str, Any], workspace: Workspace) -> None:
    section = {
        "objectives": ["mAP", "latency_ms", "parameters"],
        "space": {"genotype": True, "retrain": {"margin": [0.2, 0.4]}},
    }
    experiment = tuned(tiny, **section, genotype=None, trials=8, constraints={"latency_ms": 6})
    tune = experiment.tune
    assert tune is not None
    driver = Driver(
        tune,
        workspace.root / "journal.log",  # type: ignore[operator]
        look=lambda values: {"parameters": 2e6, **latency(values)},
    )
    driver.run()
    front = fronts.front_of(driver.study, tune)
    written = fronts.write(driver.study, experiment, workspace, "tune/tiny")
    names = [Path(path).name for path in written]
    assert names[:2] == ["front.csv", "pareto.png"]
    with Image.open(written[1]) as picture:
        assert picture.width > picture.height > 300
    text = fronts.text(driver.study, tune)
    assert f"Pareto front of {len(driver.study.trials)} trials" in text
    assert "street's identities" in text
    retrained = [load_experiment(Path(path)) for path in written if path.endswith(".yaml")]
    found = {(g, e.retrain.in_domain.margin) for e in retrained for g in e.genotypes}
    assert found == {(studies.show_values(t.params).split(",")[0], t.params["margin"]) for t in front}
    for derived in retrained:
        assert derived.tune is None
        assert derived.targets == ["street"]
        assert derived.retrain.cross_domain == experiment.retrain.cross_domain
        assert next(plan(derived).of_kind("retrain")).settings["recipe"]["epochs"] == 2


# All of it


@pytest.mark.timeout(150)
def test_a_latency_is_measured_although_the_trial_before_took_the_whole_machine(
    tiny: dict[str, Any], workspace: Workspace, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tuning.outer.connect", lambda address, resources: None)
    section = {"objectives": ["mAP", "latency_ms"], "space": {"genotype": True}, "trials": 2}
    experiment = Experiment.model_validate({**document(tiny, **section), "resources": {"retrain": {"cpus": 2}}})
    said: list[str] = []
    outer = Outer(experiment, workspace, said.append)
    outer.check()
    before = signal.getsignal(signal.SIGINT)
    assert outer.run(None) is None
    assert [trial.state.name for trial in outer.study.trials] == ["COMPLETE"] * 2, said
    assert [trial.values[1] > 0 for trial in outer.study.trials] == [True] * 2
    assert signal.getsignal(signal.SIGINT) is before, "what Tune did to it does not outlast it"


def test_a_killed_driver_goes_on_to_exactly_its_trials(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["retrain"]["in_domain"]["epochs"] = 12  # long enough to be killed in the middle
    path, workspace = tmp_path / "experiment.yaml", Workspace(tmp_path / "workspace")
    assert workspace.root is not None
    resources = {"lease_seconds": 2}
    path.write_text(yaml.safe_dump({**document(tiny, trials=3), "checkpoint_every": 0, "resources": resources}))
    script = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", script, "tune", str(path), "--workspace", workspace.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:  # until the first trial is done and the second has begun
            done = list(workspace.root.glob(f"stages/evaluate/*/{RESULT}"))
            if done and list(workspace.root.glob(f"stages/retrain/*/attempts/*/{CHECKPOINT}")):
                break
            assert run.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    before = {path: path.read_bytes() for path in workspace.root.glob(f"stages/*/*/{RESULT}")}
    again = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert again.returncode == 0, again.stdout + again.stderr

    storage = open_storage(str(workspace.root / "tune" / "tiny" / "journal.log"))
    import optuna

    trials = optuna.load_study(study_name="tiny", storage=storage).trials
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert {path: path.read_bytes() for path in before} == before, "what was done is not done again"
    published = [len(list(workspace.root.glob(f"stages/{kind}/*/{RESULT}"))) for kind in ("retrain", "evaluate")]
    assert published == [3, 3]
    attempts = [len(list(folder.glob("attempts/*"))) for folder in workspace.root.glob("stages/retrain/*")]
    assert sorted(attempts) == [1, 1, 2], "one was killed, and continued"
    assert "best trials of 3 trials (3 complete)" in again.stdout
    best = max(trial.values[0] for trial in trials)
    assert f"{100 * best:.1f}" in again.stdout

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace.root / 'mlflow.db'}")
    found = client.get_experiment_by_name("tiny")
    assert found is not None
    runs = client.search_runs([found.experiment_id], "tags.kind = 'evaluate'")
    assert sorted(float(run.data.metrics["mAP"]) for run in runs) == sorted(trial.values[0] for trial in trials)
    assert {run.data.tags["domain"] for run in runs} == {"held_out"}
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    shown = {file.path for file in client.list_artifacts(parent, "tune")}
    assert {"tune/front.csv", "tune/trials.png", "tune/retrain.yaml"} <= shown
