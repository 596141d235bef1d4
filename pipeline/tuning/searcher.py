"""The searcher and the scheduler for Ray Tune, which take their answers from a study.

They say which trial is next, record how a trial has ended, and decide whether a trial goes on.
"""

from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.config.experiment import Experiment
from pipeline.tuning.studies import Trials, past_reports
from pipeline.tuning.trial import settings

TOO_MANY = 3  # if so many trials fail in a row, something is wrong with all of them


class Broken(Exception):
    """The outer loop cannot go on. All results so far are kept."""


class StudySearcher(Searcher):
    """A searcher that hands the trials of a study to Ray Tune, and tells the study how they ended.

    Args:
        trials: Trials of the study.
        concurrent: Number of trials at a time.
        alone: Whether no trial may run while a new one is looked at, because that measures time. Then `concurrent`
            trials start together when all earlier ones have ended. Tune is told that there are no more trials, and runs
            again after the next `fill`, because a trial that has ended may still occupy what a measurement needs, as
            long as Tune runs.
    """

    def __init__(self, trials: Trials, concurrent: int, *, alone: bool = False) -> None:
        super().__init__(metric="mAP", mode="max")
        self._trials, self._concurrent, self._alone = trials, concurrent, alone
        self._ready: list[Any] = []
        self._live: dict[str, int] = {}
        self.problem: str | None = None

    @property
    def busy(self) -> bool:
        """Return whether trials are under way, or about to start."""
        return bool(self._live or self._ready)

    def fill(self) -> bool:
        """Look at the trials that start next, if there is room, and return whether some are ready to start."""
        if not self._ready and self.problem is None:
            self._fill()
        return bool(self._ready)

    def suggest(self, trial_id: str) -> Any:
        """Return `{"number", "values"}` of the next trial, None if none is ready yet, or `FINISHED` at the end."""
        if not self._alone:
            self.fill()
        if self._ready:
            trial = self._ready.pop(0)
            self._live[trial_id] = trial.number
            return {"number": trial.number, "values": trial.params}
        return None if self._live and not self._alone else self.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record the score of a trial that goes on after a rung."""
        if "epoch" in result and trial_id in self._live:
            self._trials.report(self._live[trial_id], result["mAP"], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record how a trial has ended. Only the first call for a trial counts."""
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
        """Do nothing, because the study keeps everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""

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
    """Return the scheduler: asynchronous successive halving that continues from the rungs of earlier trials.

    Without a section `asha`, no trial is stopped early.
    """
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
    nobody: Any = None  # the scheduler does not use its controller
    added = set()
    for number, epoch, score in past_reports(study):
        trial: Any = SimpleNamespace(trial_id=f"past-{number}")
        if number not in added:
            scheduler.on_trial_add(nobody, trial)
            added.add(number)
        scheduler.on_trial_result(nobody, trial, {"epoch": epoch, "mAP": score})
    return scheduler
