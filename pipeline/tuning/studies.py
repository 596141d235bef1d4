"""The study of an outer loop: Optuna's ask and tell, in a journal or a database.

The study is the only record of trials, as the workspace is of stages. A trial is `RUNNING` from the moment when it is
asked for until the study is told, once, how it ended. A driver that is killed leaves such trials. The next driver hands
them out again, with their numbers and with what was known of them, so no trial is lost or doubled.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from msinet.genotype import LETTERS
from pipeline.config.tune import SLOTS, Axis, Tune, slots_of
from pipeline.errors import RequestError

FIGURES, OUTCOME, REASON, SECONDS = "figures", "outcome", "reason", "seconds"  # attributes of a trial
DEFINITION, DEVICE = "definition", "device"  # attributes of a study
# Why a trial has no score: because of a bound, of successive halving, or of a failed training.
BEYOND, STOPPED, FAILED = "beyond a bound", "stopped early", "failed"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {
    "mAP": "maximize",
    "latency_ms": "minimize",
    "parameters": "minimize",
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(name: str, tune: Tune, storage: BaseStorage, definition: Mapping[str, Any]) -> optuna.Study:
    """Make a study, or open the one that exists.

    Args:
        name: Name of the experiment.
        tune: Section `tune` of the experiment.
        storage: Storage of the study.
        definition: Everything that decides what a trial's values and scores mean.

    Raises:
        RequestError: The study exists, but has another definition.
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
        differing = ", ".join(key for key in definition if known.get(key) != definition[key]) or "set of settings"
        raise RequestError(
            f"the study {name!r} exists already, and its trials were made with another {differing}: give the "
            "experiment another `name`, or the study another place (tune.storage)."
        )
    study.sampler = sampler_of(tune, len(study.get_trials(deepcopy=False)))
    if tune.space.genotype and tune.genotype and not tune.space.retrain:
        study.enqueue_trial(slots_of(tune.genotype), skip_if_exists=True)
    return study


def sampler_of(tune: Tune, trials: int) -> BaseSampler:
    """Return the sampler, with all of its options given.

    The study holds what the sampler has learnt. The random numbers depend on the seed and on the number of trials, so
    a sampler that continues a study does not repeat the numbers of its start.
    """
    seed = int(np.random.SeedSequence([tune.seed, trials]).generate_state(1)[0])
    if tune.sampler == "random":
        return RandomSampler(seed=seed)
    if tune.sampler == "nsga2":
        return NSGAIISampler(
            population_size=max(4, min(50, tune.trials // 5)),  # about five generations
            mutation_prob=None,  # means one divided by the number of parameters
            crossover_prob=0.9,
            swapping_prob=0.5,
            seed=seed,
        )
    return TPESampler(
        n_startup_trials=10,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=True,  # trials under way count as poor, so that the next ones are chosen elsewhere
        seed=seed,
    )


def ask_values(trial: Trial, tune: Tune) -> dict[str, Any]:
    """Return the values of a trial. Values that the trial has already stay."""
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
    """The trials of a study, for the one driver that hands them out and records how they ended.

    Args:
        study: Study from `open_study`.
        tune: Section `tune` of the experiment.
        look: Function from a trial's values to those of `latency_ms` and `parameters` that are asked for. Both are
            known without training.
        say: Called with a line for people about each trial that ends.
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
        self.failures = 0  # failed trials in a row

    @property
    def ended(self) -> int:
        """Return the number of trials that count: complete, stopped early, beyond a bound, or failed in training."""
        return len(self.study.get_trials(deepcopy=False, states=ENDED))

    @property
    def missing(self) -> int:
        """Return the number of trials that are still to be handed out."""
        return max(0, self.tune.trials - self.ended - len(self._out))

    def next(self) -> Trial | None:
        """Return the next trial to be trained, or None if the trials under way are enough.

        The study is told at once of a genotype beyond a bound, because that needs no training.
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
        """Record that a trial is complete: its stages are published."""
        trial = self._out[number]
        trial.set_user_attr(SECONDS, seconds)
        figures = {**trial.user_attrs[FIGURES], "mAP": score}
        trial.set_user_attr(FIGURES, figures)
        self._tell(number, TrialState.COMPLETE, values=[figures[objective] for objective in self.tune.objectives])

    def stop(self, number: int, score: float, epoch: int) -> None:
        """Record that a trial was stopped, because it was among the worse ones at a rung."""
        self.report(number, score, epoch)
        self._tell(number, TrialState.PRUNED, outcome=STOPPED, reason=f"mAP {100 * score:.1f} % after {epoch} epochs")

    def again(self, number: int) -> None:
        """Hand a trial out again later. It has saved its state, because its node is about to be taken away."""
        self._left.append(self._out.pop(number))

    def report(self, number: int, score: float, epoch: int) -> None:
        """Record a trial's score at a rung."""
        self._out[number].report(score, epoch)

    def fail(self, number: int, reason: str, *, counts: bool) -> None:
        """Record that a trial failed.

        Args:
            number: Number of the trial.
            reason: What went wrong, for people.
            counts: Whether the training itself failed, for example because it diverged. Such a trial counts, and the
                sampler learns from it. A trial whose worker was lost does not count.
        """
        trial = self._out[number]
        if counts and len(self.tune.objectives) == 1:
            trial.report(0.0, 0)  # the worst score
        state = TrialState.PRUNED if counts else TrialState.FAIL
        self._tell(number, state, outcome=FAILED, reason=reason)

    def _tell(
        self, number: int, state: TrialState, values: list[float] | None = None, outcome: str = "", reason: str = ""
    ) -> None:
        trial = self._out[number]
        for name, text in ((OUTCOME, outcome), (REASON, reason)):
            # An attribute may be left from a driver that was killed before it told the study.
            if text or name in trial.user_attrs:
                trial.set_user_attr(name, text)
        self.study.tell(trial, values, state)
        del self._out[number]
        self.failures = self.failures + 1 if outcome == FAILED else 0
        self._say(f"{self.ended:>4}/{self.tune.trials}  {describe(self.study.trials[number])}")


def _continued(study: optuna.Study, number: int) -> Trial:
    """Return a trial that an earlier driver has asked for."""
    storage = study._storage
    study_id = storage.get_study_id_from_name(study.study_name)
    return Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))


def past_reports(study: optuna.Study) -> list[tuple[int, int, float]]:
    """Return (number, epoch, mAP) of all scores at rungs."""
    return [
        (trial.number, epoch, score)
        for trial in study.trials
        for epoch, score in sorted(trial.intermediate_values.items())
        if epoch and math.isfinite(score)
    ]


def describe(trial: FrozenTrial) -> str:
    """Return one line about a trial."""
    figures = trial.user_attrs.get(FIGURES, {})
    parts = [show(name, figures[name]) for name in DIRECTIONS if name in figures]
    parts += [trial.user_attrs[name] for name in (OUTCOME, REASON) if trial.user_attrs.get(name)]
    return f"trial {trial.number}: {', '.join(parts)} ({show_values(trial.params)})"


def show(name: str, value: float) -> str:
    """Return a figure as a text for people."""
    if name == "mAP":
        return f"mAP {100 * value:.1f} %"
    return f"{value:.2f} ms" if name == "latency_ms" else f"{value / 1e6:.4f} M parameters"


def show_values(values: Mapping[str, Any]) -> str:
    """Return a point of the search space as a text for people: letters, then numbers."""
    letters = "".join(values[slot] for slot in SLOTS if slot in values)
    rest = [f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in values.items() if n not in SLOTS]
    return ", ".join([*([letters] if letters else []), *rest])
