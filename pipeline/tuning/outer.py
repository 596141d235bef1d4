"""The outer loop: Ray Tune runs trials that a study proposes. A trial runs ordinary stages on held-out identities.

The driver may be killed at any time: the study records which trials were under way, and the workspace records how far
they were.
"""

import contextlib
import logging
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from ray import tune as ray_tune
from ray.tune.schedulers import TrialScheduler

from pipeline.cluster.connect import connect, share_of
from pipeline.cluster.driver import run_plan
from pipeline.cluster.ending import sigterm_as_error
from pipeline.cluster.probe import Probe
from pipeline.cluster.ray_private import keep_aws_keys_from_tune
from pipeline.cluster.watcher import DONE
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData
from pipeline.config.tune import genotype_of
from pipeline.errors import RequestError
from pipeline.paths import absolute
from pipeline.plan.memory import trial_need
from pipeline.plan.preflight import known_fingerprints, preflight
from pipeline.plan.stage import Plan, content_hash
from pipeline.reports.progress import Progress
from pipeline.results import Failure
from pipeline.storage import leases
from pipeline.storage.open import require_conditions
from pipeline.storage.workspace import Workspace, study_place
from pipeline.tuning.alive import RequireRay
from pipeline.tuning.searcher import Broken, StudySearcher, halving
from pipeline.tuning.storage import mend, open_storage
from pipeline.tuning.studies import DEFINITION, DEVICE, Trials, open_study
from pipeline.tuning.trainable import require_trainable
from pipeline.tuning.trial import base_of, plan_trial, run_trial, settings

STORAGE_VARIABLE = "MSINET_TUNE_STORAGE"
RETRIES = 2  # how often Tune repeats a trial whose worker was lost
Say = Callable[[str], None]


class Outer:
    """An experiment's outer loop in a workspace.

    Args:
        experiment: Experiment with a section `tune`.
        workspace: Workspace where the trials' stages are published.
        say: Called with a line for people about each event.
    """

    def __init__(self, experiment: Experiment, workspace: Workspace, say: Say) -> None:
        self.experiment, self.workspace, self.say = experiment, workspace, say
        self.tune = settings(experiment)
        self.base = base_of(experiment)
        self.place = study_place(experiment.name)
        self.fingerprints: dict[str, str] = {}

    def check(self) -> None:
        """Make sure that the trials can run.

        Raises:
            RequestError: The trials cannot run.
        """
        require_conditions(self.workspace.store)
        self.workspace.make()
        self.fingerprints = preflight(self.base, self.workspace, self.say)
        require_trainable(self.experiment)

    def load(self) -> bool:
        """Find the study and return whether there is one. Only read it, because another driver may be writing to it.

        Raises:
            RequestError: The study cannot be read.
        """
        place = self._storage_place()
        if "://" not in place and not os.path.isfile(place):
            return False
        self.fingerprints = known_fingerprints(self.base, self.workspace)
        with contextlib.suppress(KeyError):
            self.study = optuna.load_study(study_name=self.experiment.name, storage=open_storage(place))
            return bool(self.study.user_attrs.get(DEFINITION) == self.definition)
        return False

    def _storage_place(self) -> str:
        named = os.environ.get(STORAGE_VARIABLE)
        if named:
            return named if "://" in named else str(absolute(Path(named), STORAGE_VARIABLE))
        if self.tune.storage is not None:
            return self.tune.storage.get_secret_value()
        if self.workspace.root is None:
            raise RequestError(
                "with a workspace on S3 the study needs a place of its own, the path of a journal or the URL of a "
                f"database (tune.storage, {STORAGE_VARIABLE})."
            )
        return str(self.workspace.root / self.place / "journal.log")

    @property
    def definition(self) -> dict[str, Any]:
        """Return everything that decides what a trial's values and scores mean, as JSON."""
        source = self.base.datasets[self.tune.source]
        path = {"path"} if isinstance(source, DiskData) else None
        kept = {"hold_out", "objectives", "constraints", "space", "genotype"}
        base = self.base.model_dump(mode="json", include={"threads", "after_neck", "retrain_seeds"})
        return {
            **self.tune.model_dump(mode="json", include=kept),
            **base,
            "source": source.model_dump(mode="json", exclude=path),
            "fingerprint": self.fingerprints.get(self.tune.source) if path else None,
            "image_size": list(self.base.training_size(self.tune.source)),
            "recipe": content_hash(self.base.retrain.model_dump(mode="json")["in_domain"]),
        }

    def run(self, address: str | None) -> str | None:
        """Make the study or find it, and run trials until there are enough.

        Args:
            address: Address of a Ray cluster; without one, Ray is started on this machine.

        Returns:
            Why the outer loop ended too early, or None.

        Raises:
            RequestError: The study cannot be opened, was made with other settings, or has another driver.
        """
        with self._only_driver():
            place = self._storage_place()
            mend(place)
            self.study = open_study(self.experiment.name, self.tune, open_storage(place), self.definition)
            trials = Trials(self.study, self.tune, self._look, self.say)
            if not trials.missing:
                return None
            connect(address, self.experiment.resources, [trial_need(self.base, self.tune)])
            with sigterm_as_error():
                self._prepare()
                self._require_device()
                searcher = StudySearcher(trials, self.tune.concurrent, alone=self.tune.measured)
                while searcher.fill():
                    self._run_tune(searcher, halving(self.experiment, self.study))
                    if searcher.busy or not self.tune.measured:
                        break  # Tune was interrupted, or has run all trials at once, without measurements
            if searcher.problem is None and trials.ended < self.tune.trials:
                return "interrupted"
            return searcher.problem

    def _run_tune(self, searcher: StudySearcher, scheduler: TrialScheduler) -> None:
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output ignores `verbose`
        logging.getLogger("ray.tune").setLevel(logging.ERROR)  # it warns of missing files that nobody reads
        keep_aws_keys_from_tune()
        asha, epochs = self.tune.asha, self.base.retrain.in_domain.epochs
        trainable = partial(
            run_trial,
            base=self.base,
            hold_out=self.tune.hold_out,
            fingerprints=self.fingerprints,
            address=self.workspace.address,
            rungs=asha.rungs(epochs) if asha else [],
        )
        share = share_of(self.experiment.resources, "retrain")
        memory = 0 if share["num_gpus"] else trial_need(self.base, self.tune).memory
        with tempfile.TemporaryDirectory(prefix="msinet-tune-") as folder, _restored_sigint():
            ray_tune.run(
                trainable,
                name=self.experiment.name,
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # until the searcher has no more trials
                resources_per_trial={"cpu": share["num_cpus"], "gpu": share["num_gpus"], "memory": memory},
                max_failures=RETRIES,
                raise_on_failed_trial=False,
                callbacks=[RequireRay()],
                storage_path=folder,  # Tune's own files are not needed, because the study has everything
                trial_dirname_creator=lambda trial: trial.trial_id,
                verbose=0,
            )

    def _prepare(self) -> None:
        name = f"prepare {self.tune.source}"
        planned = plan_trial(self._any_genotype(), {}, self.tune.hold_out, self.fingerprints, self.workspace)
        stages = Plan(self.base, {name: planned.stages[name]})
        if not stages.stages[name].result and run_plan(stages, self.workspace, [Progress(stages)]).states[name] != DONE:
            raise RequestError(f"`{name}` must succeed before any trial, but has failed.")

    def _any_genotype(self) -> Experiment:
        return self.base.model_copy(update={"genotypes": self.base.genotypes or ["MSINet"]})

    def _require_device(self) -> None:
        """Make sure that latency is measured on the named device, and on that of earlier trials.

        Raises:
            RequestError: Measurements would run on another device.
        """
        if not self.tune.measured:
            return
        device = Probe(self.experiment.resources).wait()
        expected = self.study.user_attrs.get(DEVICE, self.tune.device or device)
        if {self.tune.device or device, expected} != {device}:
            raise RequestError(
                f"latency must be measured on one device, {self.tune.device or expected!r}, but the device here is "
                f"{device!r} (tune.device)."
            )
        self.study.set_user_attr(DEVICE, device)
        self.say(f"the latency of one picture is measured on {device}, while nothing else of this study runs")

    def _look(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Return the figures of a trial that are known without training it.

        Raises:
            Broken: The latency could not be measured.
        """
        figures: dict[str, float] = {}
        if "parameters" in self.tune.figures:
            figures["parameters"] = count_parameters(values)
        if self.tune.measured:
            planned = plan_trial(self.base, values, self.tune.hold_out, self.fingerprints, self.workspace)
            stage = next(planned.of_kind("measure"))
            outcome = run_plan(Plan(self.base, {stage.name: stage}), self.workspace, [])
            if stage.result is None:
                failure = self.workspace.last_failure("measure", str(stage.key)) or Failure("its worker was lost")
                raise Broken(f"`{stage.name}` has {outcome.states[stage.name]}: {failure.message}")
            figures["latency_ms"] = stage.result["metrics"]["latency_ms"]
        return figures

    @contextlib.contextmanager
    def _only_driver(self) -> Iterator[None]:
        """Let only one driver run the study. After a driver was killed, wait until its lease has run out.

        Raises:
            RequestError: Another driver is alive.
        """
        seconds = self.experiment.resources.lease_seconds
        holder, place, store = uuid.uuid4().hex, f"{self.place}/leases", self.workspace.store
        deadline = time.monotonic() + 1.5 * seconds
        while (lease := leases.take(store, place, holder, seconds)) is None:
            if time.monotonic() > deadline:
                raise RequestError(f"only one driver may run a study, but another runs {self.experiment.name} already.")
            time.sleep(min(1.0, seconds / 4))
        with lease:
            yield

    def trials_plan(self) -> Plan:
        """Return the published stages of all trials, each key once, named after the first trial that has it."""
        stages: dict[str, Any] = {}
        seen = set()
        measurements = {r["key"]: r for r in self.workspace.all_results("measure")} if self.tune.measured else {}
        for trial in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            planned = plan_trial(self.base, trial.params, self.tune.hold_out, self.fingerprints, self.workspace)
            planned.find_measurements(measurements.values())
            names = {n: n if s.kind == "prepare" else f"trial {trial.number} {n}" for n, s in planned.stages.items()}
            for stage in planned.stages.values():
                if stage.result is None or stage.key in seen:
                    continue
                seen.add(stage.key)
                stage.name = names[stage.name]
                stage.needs = {role: names[name] for role, name in stage.needs.items()}
                if stage.kind != "prepare":
                    stage.labels["trial"] = trial.number
                stages[stage.name] = stage
        return Plan(self.experiment, stages)


@contextlib.contextmanager
def _restored_sigint() -> Iterator[None]:
    """Restore the handler of SIGINT. Tune leaves its own handler, and a later interrupt would then have no effect."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def with_trials(planned: Plan, workspace: Workspace, say: Say) -> Plan:
    """Return an experiment's plan together with the published stages of its outer loop."""
    if planned.experiment.tune is None:
        return planned
    outer = Outer(planned.experiment, workspace, say)
    if not outer.load():
        return planned
    return Plan(planned.experiment, {**outer.trials_plan().stages, **planned.stages})


def count_parameters(values: Mapping[str, Any]) -> int:
    """Return the number of parameters of a network with these operations in its slots, without classifiers."""
    from msinet.models import build_model
    from msinet.models import count_parameters as count

    return count(build_model("msinet", num_classes=0, genotype=genotype_of(values)))
