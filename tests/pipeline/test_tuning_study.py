"""A study draws trials with each sampler, stops the worse, and loses or doubles none after a kill."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tuning import Driver, genotypes, latency, score, tuned

from pipeline.config.tune import slots_of
from pipeline.errors import RequestError
from pipeline.tuning import fronts, searcher
from pipeline.tuning.searcher import Broken, StudySearcher, halving
from pipeline.tuning.storage import mend, open_storage
from pipeline.tuning.studies import open_study


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


@pytest.mark.parametrize("text", ["path,identity\na.jpg,1", "x", '{"op_code":0}\nx\n{"op_code":1}\n', "{}\n", "1\n"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text(text)
    for use in (open_storage, mend):
        with pytest.raises(RequestError, match=r"must be a file that a study has written, but .*manifest.csv"):
            use(str(file))
    assert file.read_text() == text


@pytest.mark.parametrize("half", ["{", '{"op_code":0,"wor'])
def test_half_a_line_at_the_end_is_removed(tmp_path: Path, half: str) -> None:
    journal = tmp_path / "journal.log"
    for sound in ("", '{"op_code":0}\n'):
        journal.write_text(sound + half)
        mend(str(journal))
        assert journal.read_text() == sound


def test_a_journal_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "null").symlink_to("/dev/null")
    for place in (tmp_path / "fifo", tmp_path / "null", tmp_path):
        with pytest.raises(RequestError, match="must be a file that a study has written"):
            open_storage(str(place))
