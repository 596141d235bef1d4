"""Outer loops: of the tiny experiment, and over genotypes with trials that train nothing."""

import time
from pathlib import Path
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.config.tune import Tune
from pipeline.tuning.searcher import StudySearcher
from pipeline.tuning.storage import mend, open_storage
from pipeline.tuning.studies import Trials, open_study

TUNE: dict[str, Any] = {"source": "street", "hold_out": 30, "trials": 4, "sampler": "random"}
RETRAIN = {"genotype": "MSINet", "space": {"retrain": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}}}


def document(tiny: dict[str, Any], **tune: Any) -> dict[str, Any]:
    """Return the tiny experiment with an outer loop and nothing else to do."""
    return {**tiny, "splits": [], "targets": [], "tune": {**TUNE, **RETRAIN, **tune}}


def tuned(tiny: dict[str, Any], **tune: Any) -> Experiment:
    """Return the experiment of `document`."""
    return Experiment.model_validate(document(tiny, **tune))


def genotypes(**more: Any) -> Tune:
    """Return an outer loop over genotypes that asks for `latency_ms`."""
    section = {"objectives": ["mAP", "latency_ms"], "constraints": {"latency_ms": 5}, "space": {"genotype": True}}
    return Tune.model_validate({**TUNE, "trials": 24, **section, **more})


def latency(values: dict[str, Any]) -> dict[str, float]:
    """Return a latency by which cross attention is slow."""
    return {"latency_ms": 2.0 + sum(letter == "A" for letter in values.values())}


def score(values: dict[str, Any]) -> float:
    """Return an mAP by which cross attention finds most."""
    return sum({"A": 0.06, "E": 0.03, "G": 0.02}.get(value, 0.0) for value in values.values())


class Driver:
    """An outer loop without Ray, whose trials end as soon as they are told to."""

    def __init__(self, tune: Tune, place: Path | str, look: Any = latency, *, alone: bool = False) -> None:
        mend(str(place))
        self.study = open_study("s", tune, open_storage(str(place)), {"space": "genotypes"})
        self.said: list[str] = []
        self.trials = Trials(self.study, tune, look, self.said.append)
        self.searcher = StudySearcher(self.trials, tune.concurrent, alone=alone)
        self.live: dict[str, dict[str, Any]] = {}

    def start(self) -> bool:
        """Start a trial, and return whether there was one to start."""
        name = f"t{len(self.live)}-{time.monotonic_ns()}"
        config = self.searcher.suggest(name)
        if isinstance(config, dict):
            self.live[name] = config
            return True
        assert config == (None if self.live else StudySearcher.FINISHED)
        return False

    def end(self) -> None:
        """End the oldest trial that runs."""
        name, config = next(iter(self.live.items()))
        result = {"mAP": score(config["values"]), "published": True, "seconds": 1.0}
        self.searcher.on_trial_complete(name, result)
        self.searcher.on_trial_complete(name, result)  # Tune may say so twice
        del self.live[name]

    def run(self) -> None:
        """Start and end trials until there are no more."""
        while self.start() or self.live:
            while self.start():
                pass
            self.end()
