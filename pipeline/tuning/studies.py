"""The study of an outer loop: Optuna's ask and tell, in a journal or a database.

The study is the truth about trials, as the workspace is about stages. A trial is `RUNNING` from the moment it is asked
for until it is told, once; a driver that is killed leaves such trials, and the next one hands them out again, under
their numbers and with what was known of them, so none is lost and none is there twice.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from msinet.genotype import LETTERS
from pipeline.config.tune import SLOTS, Axis, Tune, slots_of
from pipeline.errors import RequestError

FIGURES, OUTCOME, REASON, SECONDS = "figures", "outcome", "reason", "seconds"  # of a trial
DEFINITION, DEVICE = "definition", "device"  # of a study
# Why a trial has no score: by a bound, by successive halving, or since its training failed.
BEYOND, STOPPED, FAILED = "beyond a bound", "stopped early", "failed"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {
    "mAP": "maximize",
    "latency_ms": "minimize",
    "parameters": "minimize",
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_storage(place: str) -> BaseStorage:
    """Where a study lies.

    Args:
        place: A journal's path, or a database's URL.

    Raises:
        RequestError: It cannot be opened. The URL, which may hold a password, is not repeated.
    """
    try:
        if "://" in place:
            return RDBStorage(place)
        path = Path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place, lock_obj=JournalFileSymlinkLock(place)))
    except Exception as error:  # of the file system, of SQLAlchemy, of a database's driver that is not installed
        found = f"{error}" if isinstance(error, ImportError) else type(error).__name__
        raise RequestError(
            "a study must lie in a journal that can be written, or in a database that can be reached, but opening it "
            f"gave: {found} (tune.storage, MSINET_TUNE_STORAGE)."
        ) from None


def mend(place: str) -> None:
    """Remove half a line that a machine left in a journal when it died: what is written next would be appended to it.

    Nobody may be writing.
    """
    path = Path(place)
    if "://" not in place and path.is_file() and not (data := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


def open_study(name: str, tune: Tune, storage: BaseStorage, definition: Mapping[str, Any]) -> optuna.Study:
    """Make a study, or go on with it.

    Args:
        name: Of the experiment.
        tune: Its section.
        storage: Where the study lies.
        definition: All that decides what a trial's values and scores mean.

    Raises:
        RequestError: The study is there, but defined otherwise.
    """
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=[DIRECTIONS[objective] for objective in tune.objectives],
        load_if_exists=True,
    )
    known = study.user_attrs.get(DEFINITION)
    if known is None:
        study.set_user_attr(DEFINITION, definition)
    elif known != definition:
        differing = ", ".join(key for key in definition if known.get(key) != definition[key]) or "what it was made with"
        raise RequestError(
            f"the study {name!r} is there already, and its trials were made with another {differing}: give the "
            "experiment another `name`, or the study another place (tune.storage)."
        )
    study.sampler = sampler_of(tune, len(study.get_trials(deepcopy=False)))
    if tune.space.genotype and tune.genotype and not tune.space.retrain:
        study.enqueue_trial(slots_of(tune.genotype), skip_if_exists=True)
    return study


def sampler_of(tune: Tune, trials: int) -> BaseSampler:
    """The sampler, all of its flags as they are meant here.

    What it has learnt is in the study. Its random numbers follow from the seed and from how many trials there are, so
    that one that goes on does not draw again what it drew at the start.
    """
    seed = int(np.random.SeedSequence([tune.seed, trials]).generate_state(1)[0])
    if tune.sampler == "random":
        return RandomSampler(seed=seed)
    if tune.sampler == "nsga2":
        return NSGAIISampler(
            population_size=max(4, min(50, tune.trials // 5)),  # some five generations
            mutation_prob=None,  # one over the number of parameters
            crossover_prob=0.9,
            swapping_prob=0.5,
            seed=seed,
        )
    return TPESampler(
        n_startup_trials=10,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=True,  # trials under way count as poor ones, so that the next are elsewhere
        seed=seed,
    )


def ask_values(trial: Trial, tune: Tune) -> dict[str, Any]:
    """The values of a trial; those that it has already stay."""
    values: dict[str, Any] = {}
    if tune.space.genotype:
        values |= {slot: trial.suggest_categorical(slot, list(LETTERS)) for slot in SLOTS}
    return values | {name: _ask(trial, name, axis) for name, axis in tune.space.retrain.items()}


def _ask(trial: Trial, name: str, axis: Axis) -> Any:
    if axis.choices is not None:
        return trial.suggest_categorical(name, axis.choices)
    assert axis.low is not None
    assert axis.high is not None
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


class Trials:
    """The trials of a study, for the one driver that hands them out and tells how they ended.

    Args:
        study: Of `open_study`.
        tune: The experiment's section.
        look: From a trial's values to what is known of it without training: `latency_ms`, `parameters`, as asked for.
        say: Told of each trial that ends.
    """

    def __init__(
        self,
        study: optuna.Study,
        tune: Tune,
        look: Callable[[Mapping[str, Any]], dict[str, float]],
        say: Callable[[str], None],
    ) -> None:
        self.study, self.tune = study, tune
        self._look, self._say = look, say
        self._left = [_continued(study, trial.number) for trial in study.trials if trial.state == TrialState.RUNNING]
        self._out: dict[int, Trial] = {}
        self.failures = 0  # in a row

    @property
    def ended(self) -> int:
        """Trials that count: complete, stopped early, beyond a bound, failed in training."""
        return len(self.study.get_trials(deepcopy=False, states=ENDED))

    @property
    def missing(self) -> int:
        """Trials that are still to be handed out."""
        return max(0, self.tune.trials - self.ended - len(self._out))

    def next(self) -> Trial | None:
        """The next trial to be trained; None when no more is needed than what is out.

        A genotype beyond a bound is told at once: that needs no training.
        """
        while self.missing:
            trial = self._left.pop(0) if self._left else self.study.ask()
            values = ask_values(trial, self.tune)
            self._out[trial.number] = trial
            if FIGURES not in trial.user_attrs:
                trial.set_user_attr(FIGURES, self._look(values))
            figures = trial.user_attrs[FIGURES]
            for name, bound in self.tune.constraints.items():
                if name not in trial.constraints:
                    trial.set_constraint(name, figures[name] - bound)
            if all(excess <= 0 for excess in trial.constraints.values()):
                return trial
            self._tell(trial.number, TrialState.PRUNED, outcome=BEYOND)
        return None

    def complete(self, number: int, score: float, seconds: float) -> None:
        """Its stages are published."""
        trial = self._out[number]
        trial.set_user_attr(SECONDS, seconds)
        figures = {**trial.user_attrs[FIGURES], "mAP": score}
        trial.set_user_attr(FIGURES, figures)
        self._tell(number, TrialState.COMPLETE, values=[figures[objective] for objective in self.tune.objectives])

    def stop(self, number: int, score: float, epoch: int) -> None:
        """It was among the worse ones at a rung."""
        self.report(number, score, epoch)
        self._tell(number, TrialState.PRUNED, outcome=STOPPED, reason=f"mAP {100 * score:.1f} % after {epoch} epochs")

    def again(self, number: int) -> None:
        """It has saved its state and ended before its node does: it is handed out again."""
        self._left.append(self._out.pop(number))

    def report(self, number: int, score: float, epoch: int) -> None:
        """Its score at a rung."""
        self._out[number].report(score, epoch)

    def fail(self, number: int, reason: str, *, counts: bool) -> None:
        """Its training failed, such as by diverging, which counts and teaches the sampler; or its worker was lost."""
        trial = self._out[number]
        if counts and len(self.tune.objectives) == 1:
            trial.report(0.0, 0)  # as bad as can be
        state = TrialState.PRUNED if counts else TrialState.FAIL
        self._tell(number, state, outcome=FAILED, reason=reason)

    def _tell(
        self, number: int, state: TrialState, values: list[float] | None = None, outcome: str = "", reason: str = ""
    ) -> None:
        trial = self._out[number]
        for name, text in ((OUTCOME, outcome), (REASON, reason)):
            if text or name in trial.user_attrs:  # of a driver that was killed before it told
                trial.set_user_attr(name, text)
        self.study.tell(trial, values, state)
        del self._out[number]
        self.failures = self.failures + 1 if outcome == FAILED else 0
        self._say(f"{self.ended:>4}/{self.tune.trials}  {describe(self.study.trials[number])}")


def _continued(study: optuna.Study, number: int) -> Trial:
    """A trial that an earlier driver has asked for."""
    storage = study._storage
    study_id = storage.get_study_id_from_name(study.study_name)
    return Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def past_reports(study: optuna.Study) -> list[tuple[int, int, float]]:
    """(number, epoch, mAP) of all scores at rungs."""
    return [
        (trial.number, epoch, score)
        for trial in study.trials
        for epoch, score in sorted(trial.intermediate_values.items())
        if epoch and math.isfinite(score)
    ]


def describe(trial: FrozenTrial) -> str:
    """A trial in one line."""
    figures = trial.user_attrs.get(FIGURES, {})
    parts = [show(name, figures[name]) for name in DIRECTIONS if name in figures]
    parts += [trial.user_attrs[name] for name in (OUTCOME, REASON) if trial.user_attrs.get(name)]
    return f"trial {trial.number}: {', '.join(parts)} ({show_values(trial.params)})"


def show(name: str, value: float) -> str:
    """A figure for people."""
    if name == "mAP":
        return f"mAP {100 * value:.1f} %"
    return f"{value:.2f} ms" if name == "latency_ms" else f"{value / 1e6:.4f} M parameters"


def show_values(values: Mapping[str, Any]) -> str:
    """A point of the space for people: letters, then numbers."""
    letters = "".join(values[slot] for slot in SLOTS if slot in values)
    rest = [f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in values.items() if n not in SLOTS]
    return ", ".join([*([letters] if letters else []), *rest])
