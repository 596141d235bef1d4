"""What Ray Tune asks: which trial is next, how one has ended, whether one goes on. The answers are in a study."""

from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.config.experiment import Experiment
from pipeline.tuning.studies import Trials, past_reports
from pipeline.tuning.trial import settings

TOO_MANY = 3  # trials that fail in a row: something is wrong with all of them


class Broken(Exception):
    """The outer loop cannot go on; what is done is kept."""


class StudySearcher(Searcher):
    """Hands the trials of a study to Ray Tune, and tells the study how they ended.

    Args:
        trials: Of the study.
        concurrent: Trials at a time.
        alone: Whether looking at a trial must not be disturbed, as a measurement of time: trials then start together,
            `concurrent` of them, when all before have ended. Tune is told that there are no more, and runs again after
            the next `fill`: while it runs, a trial that has ended may still occupy what a measurement waits for.
    """

    def __init__(self, trials: Trials, concurrent: int, *, alone: bool = False) -> None:
        super().__init__(metric="mAP", mode="max")
        self._trials, self._concurrent, self._alone = trials, concurrent, alone
        self._ready: list[Any] = []
        self._live: dict[str, int] = {}
        self.problem: str | None = None

    @property
    def busy(self) -> bool:
        """Whether trials are under way, or about to be."""
        return bool(self._live or self._ready)

    def fill(self) -> bool:
        """Look at the trials that start next, while there is room for any; whether some are ready to start."""
        if not self._ready and self.problem is None:
            self._fill()
        return bool(self._ready)

    def suggest(self, trial_id: str) -> Any:
        """`{"number", "values"}` of the next trial, None for none at the moment."""
        if not self._alone:
            self.fill()
        if self._ready:
            trial = self._ready.pop(0)
            self._live[trial_id] = trial.number
            return {"number": trial.number, "values": trial.params}
        return None if self._live and not self._alone else self.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial goes on after a rung."""
        if "epoch" in result and trial_id in self._live:
            self._trials.report(self._live[trial_id], result["mAP"], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, in whatever way; only the first call counts."""
        number = self._live.pop(trial_id, None)
        if number is None:
            return
        result = {} if error or result is None else result
        if "failure" in result:
            self._trials.fail(number, result["failure"], counts=True)
        elif result.get("published"):
            self._trials.complete(number, result["mAP"], result["seconds"])
        elif result.get("stopped"):
            self._trials.again(number)
        elif "epoch" in result:
            self._trials.stop(number, result["mAP"], result["epoch"])
        else:
            self._trials.fail(number, "its worker was lost, or found no room", counts=False)
        if self._trials.failures >= TOO_MANY:
            self.problem = f"{self._trials.failures} trials in a row have failed"

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is what is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def _fill(self) -> None:
        room = self._concurrent - len(self._live)
        if room <= 0 or (self._alone and self._live):
            return
        for _ in range(room if self._alone else 1):
            try:
                trial = self._trials.next()
            except Broken as error:
                self.problem = f"{error}"
                return
            if trial is None:
                return
            self._ready.append(trial)


def halving(experiment: Experiment, study: optuna.Study) -> TrialScheduler:
    """Asynchronous successive halving, with the rungs as the study's trials have left them."""
    tune = settings(experiment)
    if tune.asha is None:
        return FIFOScheduler()
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="mAP",
        mode="max",
        max_t=experiment.retrain.in_domain.epochs,
        grace_period=tune.asha.grace_epochs,
        reduction_factor=tune.asha.reduction_factor,
        brackets=1,
        stop_last_trials=False,
    )
    nobody: Any = None  # the scheduler asks its controller nothing
    added = set()
    for number, epoch, score in past_reports(study):
        trial: Any = SimpleNamespace(trial_id=f"past-{number}")
        if number not in added:
            scheduler.on_trial_add(nobody, trial)
            added.add(number)
        scheduler.on_trial_result(nobody, trial, {"epoch": epoch, "mAP": score})
    return scheduler
