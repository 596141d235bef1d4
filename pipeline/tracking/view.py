"""MLflow as a view of the workspace: one parent run per experiment, and one child run per stage key.

Every number, time and file comes from the workspace, so `sync` shows the same as a grid that was recorded while it ran.
"""

import json
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.plan.costs import costs_of
from pipeline.plan.efforts import hours
from pipeline.plan.kinds import HISTORY, KINDS
from pipeline.plan.stage import HELD_OUT, Plan, Stage, content_hash
from pipeline.results import Failure, Report, Result
from pipeline.storage import leases
from pipeline.storage.workspace import Workspace, stage_place
from pipeline.tracking.client import Client, Deadline, connect
from pipeline.tracking.curves import PLOTS, Curves, search_figures, search_plots
from pipeline.tracking.describe import datasets_of, note_of, note_tags, run_name, settings_of
from pipeline.tracking.facts import ended, epoch_ends, milliseconds, specification
from pipeline.tracking.genotypes import SUFFIX, Genotypes, experiment_tags
from pipeline.tracking.intervals import score_intervals
from pipeline.tracking.parent import (
    EXPERIMENT_FILE,
    Reported,
    experiment_id,
    log_costs,
    log_experiment,
    log_report,
    log_study,
)
from pipeline.tracking.registry import register
from pipeline.tracking.runs import FAILURE_TAG, KEY_TAG, PARENT_TAG, SPEC_TAG, SYNCED_TAG, WEIGHTS_TAG, Runs

if TYPE_CHECKING:
    from mlflow.entities import Run

SYNCED = "5"  # value of the tag of a run that has everything; raise it when a run is to show something new


class View:
    """The calls to MLflow. Every call may be repeated; nothing is then written twice."""

    def __init__(self, uri: str, plan: Plan, workspace: Workspace, report: Reported | None = None) -> None:
        self.uri = uri
        self.report = report
        self.plan = plan
        self.workspace = workspace
        self.deadline = Deadline()
        self.synced: set[str] = set()
        self._known: dict[str, Run] = {}  # stage key -> run
        self._reopened: set[str] = set()  # runs that had ended before
        self._parents: set[str] = set()  # parent runs that are known to exist

    def open(self, *, running: bool) -> None:
        """Find or make the MLflow experiment and the parent run, and show that it is running."""
        self.client: Client = connect(self.uri, self.deadline)
        self.curves = Curves(self.client, self.plan.experiment.space)
        experiment = self.plan.experiment
        tags = experiment_tags(self.plan)
        ids = [experiment_id(self.client, self.uri, experiment.name + end, tags) for end in ("", SUFFIX)]
        self.runs, rows = (Runs(self.client, one, self.workspace, self.uri) for one in ids)
        self.genotypes = Genotypes(self.client, rows, self.plan)
        results = self._results()
        began = min((result["started"] for result in results), default=time.time())
        name = f"{experiment.name} {time.strftime('%Y-%m-%d %H:%M', time.localtime(began))}"
        identity = (SPEC_TAG, content_hash(specification(experiment)), name)
        self.parent = self.runs.only(*identity, began=milliseconds(began))
        if results and self.parent.info.start_time > max(map(ended, results)):
            self.parent = self.runs.only(*identity, began=milliseconds(began), exact=True)
        self._parents = {self.parent.info.run_id}
        files = self.client.list_artifacts(self.parent.info.run_id)
        if all(artifact.path != EXPERIMENT_FILE for artifact in files):
            log_experiment(self.client, self.parent.info.run_id, experiment)
        if running:
            self.client.update_run(self.parent.info.run_id, status="RUNNING")

    def start(self, stage: Stage) -> str:
        """Find or make the run of a stage, and show that it is running unless the stage is done."""
        run = self._run_of(stage)
        run_id: str = run.info.run_id
        if run.info.status != "RUNNING" and stage.result is None and run_id not in self._reopened:
            self.client.update_run(run_id, status="RUNNING")
            self._reopened.add(run_id)
        return run_id

    def log_epochs(self, stage: Stage, reports: Sequence[Report], times: Sequence[float] = ()) -> None:
        """Log the epochs that the run does not have yet.

        Args:
            stage: Stage of the epochs.
            reports: Numbers of each epoch.
            times: When each epoch ended, in seconds since the epoch; by default now.
        """
        run = self.start(stage)
        self.curves.log(run, reports, times or [time.time()] * len(reports))

    def sync(self, stage: Stage) -> None:
        """Write everything that a published result holds and the stage's run lacks."""
        assert stage.result is not None
        assert stage.key is not None
        if stage.key in self.synced:
            return
        run = self._run_of(stage)
        run_id, tags = run.info.run_id, run.data.tags
        whole = tags.get(SYNCED_TAG) == SYNCED
        if not whole:
            if run.info.run_name == stage.name != run_name(stage):  # an older version named it
                self.client.update_run(run_id, name=run_name(stage))
            self._log_result(run_id, stage, stage.result)
        if tags.get(WEIGHTS_TAG) != (place := self.workspace.location(stage.result)):
            self.client.set_tag(run_id, WEIGHTS_TAG, place)
        self._log_files(run_id, stage, None, whole=whole)
        if stage.kind == "picture":
            for evaluation in self._evaluations(stage):
                self._log_files(evaluation, stage, f"beside/{stage.key}", whole=whole)
        if not whole:
            self._log_scores(stage)
            self.client.set_tag(run_id, SYNCED_TAG, SYNCED)
        if run_id in self._reopened or (run.info.status, run.info.end_time) != ("FINISHED", ended(stage.result)):
            self._end(run, "FINISHED", ended(stage.result))
        self.synced.add(stage.key)
        if stage.on_target:
            self.genotypes.show()

    def fail(self, stage: Stage, failure: Failure) -> None:
        """Mark a stage's run as failed. A stage without a key has never run, so it has no run."""
        if stage.key is None:
            return
        run = self._run_of(stage)
        self.client.set_tag(run.info.run_id, FAILURE_TAG, failure.message[:4000])
        for name, text in (("traceback", failure.traceback), ("log", failure.log)):
            if text:
                self.client.log_text(run.info.run_id, text, f"{name}.txt")
        self._end(run, "FAILED", milliseconds(failure.time or time.time()))

    def interrupt(self, stage: Stage) -> None:
        """Show that nobody works at a stage any more, although it is not done."""
        self._end(self._run_of(stage), "KILLED", milliseconds(time.time()))

    def end_abandoned(self) -> None:
        """End the runs that MLflow shows as running although nobody works at them: their driver was killed.

        The leases say who works at a stage. A parent is ended if none of its children is running.
        """
        now, busy = milliseconds(time.time()), set()
        running = self.runs.running()
        for run in running:
            key, kind = run.data.tags.get(KEY_TAG), run.data.tags.get("kind")
            if key is None:
                continue
            if kind is None or leases.holder_of(self.workspace.store, f"{stage_place(kind, key)}/leases") is None:
                self._end(run, "KILLED", now)
            else:
                busy.add(run.data.tags.get(PARENT_TAG))
        for run in running:
            if SPEC_TAG in run.data.tags and run.info.run_id not in busy:
                self._end(run, "KILLED", now)

    def show_study(self) -> None:
        """Copy what an outer loop has written to the parent run."""
        log_study(self.client, self.parent.info.run_id, self.workspace, self.plan.experiment.name)

    def close(self, status: str) -> None:
        """End the parent run as FINISHED, FAILED or KILLED, and show the hours of all stages together."""
        results = self._results()
        last = max(map(ended, results), default=0)
        costs = costs_of(self.plan, self.workspace, rest=False)
        log_costs(self.client, self.parent.info.run_id, costs, last or milliseconds(time.time()))
        if results and self.report and status != "KILLED":  # an interrupted driver must end soon
            log_report(self.client, self.parent, *self.report(self.plan, self.workspace))
        if status == "FINISHED":
            register(self.client, self.plan, self.workspace, lambda stage: self._run_of(stage).info.run_id)
        self._end(self.parent, status, last if status == "FINISHED" and last else milliseconds(time.time()))

    def _results(self) -> list[Result]:
        """Return the published results of the plan, each once."""
        return list({stage.key: stage.result for stage in self.plan.stages.values() if stage.result}.values())

    def _end(self, run: "Run", status: str, at: int) -> None:
        """End a run, not before it began: clocks may differ."""
        self.client.set_terminated(run.info.run_id, status, end_time=max(at, run.info.start_time))
        self._known.pop(run.data.tags.get(KEY_TAG, ""), None)  # its status is out of date
        self._reopened.discard(run.info.run_id)

    def _log_metrics(self, run: str, values: dict[str, Any], at: int) -> None:
        """Log numbers at a time that is the same at every call, so that MLflow keeps each once."""
        from mlflow.entities import Metric

        self.client.log_batch(run, metrics=[Metric(name, float(value), at, 0) for name, value in values.items()])

    def _log_result(self, run: str, stage: Stage, result: Result) -> None:
        from mlflow.entities import Param, RunTag

        if history := self.workspace.file(result, HISTORY):
            reports = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
            self.log_epochs(stage, reports, epoch_ends(reports, result))
        figures = result["metrics"] if KINDS[stage.kind].scored else {}
        if stage.kind == "search":
            figures = search_figures(self._history(result), self.plan.experiment.space)
        ends, text = score_intervals(self.workspace, stage.kind, result)
        self._log_metrics(run, {**figures, **ends, "hours": hours(result)}, ended(result))
        if text:
            self.client.set_tag(run, "scores", text)
        settings = settings_of(stage, self.plan).items()
        note = note_tags(self.client.get_run(run).data.tags, note_of(stage, self.plan)).items()
        self.client.log_batch(
            run, params=[Param(name, value) for name, value in settings], tags=[RunTag(*item) for item in note]
        )
        if datasets := datasets_of(stage, self.plan):
            self.client.log_inputs(run, datasets=datasets)
        if "genotype" in result:
            found = ("genotype", result["genotype"])
            self.client.log_batch(run, params=[Param(*found)], tags=[RunTag(*found)])

    def _log_scores(self, stage: Stage) -> None:
        """Log the scores of a network also in the run of its training."""
        for evaluation in self.plan.of_kind("evaluate"):
            model = self.plan.stages[evaluation.needs["model"]]
            if evaluation.result and model.result and stage.key in (evaluation.key, model.key):
                place = evaluation.labels["target"] if evaluation.on_target else HELD_OUT
                scores = {f"{name}_{place}": evaluation.result["metrics"][name] for name in ("mAP", "rank1")}
                self._log_metrics(self._run_of(model).info.run_id, scores, ended(evaluation.result))

    def _log_files(self, run: str, stage: Stage, folder: str | None, *, whole: bool) -> None:
        """Log a result's artifacts; if the run has been whole before, only those that have vanished since."""
        assert stage.result is not None
        names = KINDS[stage.kind].artifacts
        there = {Path(file.path).name for file in self.client.list_artifacts(run, folder)} if whole and names else ()
        for name in names:
            if name not in there and (path := self.workspace.file(stage.result, name)):
                self.client.log_artifact(run, str(path), folder)
        if stage.kind == "search":
            self._log_plots(run, stage.result, there)

    def _log_plots(self, run: str, search: Result, there: Collection[str]) -> None:
        """Log the plots of a search, except those that are there."""
        if set(PLOTS) <= set(there):
            return
        plots = search_plots(self._history(search), self.plan.experiment.space)
        with tempfile.TemporaryDirectory() as folder:
            for name, png in plots.items():
                path = Path(folder) / name
                path.write_bytes(png)
                self.client.log_artifact(run, str(path))

    def _history(self, search: Result) -> str:
        path = self.workspace.file(search, HISTORY)
        return path.read_text(encoding="utf-8") if path else ""

    def _evaluations(self, picture: Stage) -> list[str]:
        """Return the runs of the evaluations whose networks a picture shows."""
        return [
            self._run_of(stage).info.run_id
            for stage in self.plan.of_kind("evaluate")
            if stage.result is not None
            and stage.on_target
            and stage.needs["model"] in picture.needs.values()
            and stage.needs["target_data"] == picture.needs["target_data"]
        ]

    def _run_of(self, stage: Stage) -> "Run":
        """Find or make the run of a stage. Once the stage is done, its run begins when the result says."""
        assert stage.key is not None
        done = stage.result is not None
        at = stage.result["started"] if stage.result else stage.started
        began = None if at is None else milliseconds(at)
        run = self._known.get(stage.key)
        if run is None or (done and run.info.start_time != began):
            parent = self.parent.info.run_id
            run = self.runs.only(KEY_TAG, stage.key, run_name(stage), {PARENT_TAG: parent}, began=began, exact=done)
            self._describe(run, stage)
            self._adopt(run)
            self._known[stage.key] = run
        return run

    def _adopt(self, run: "Run") -> None:
        """Give a run to this parent if its own parent was deleted."""
        theirs = run.data.tags.get(PARENT_TAG)
        if theirs and (theirs in self._parents or self.runs.is_there(theirs)):
            self._parents.add(theirs)
        else:
            self.client.set_tag(run.info.run_id, PARENT_TAG, self.parent.info.run_id)

    def _describe(self, run: "Run", stage: Stage) -> None:
        """Write parameters for the compare view and tags for the search filter, unless the run has them already."""
        from mlflow.entities import Param, RunTag

        if "kind" in run.data.tags:  # tags are written last, so the run has everything
            return
        shown: dict[str, Any] = {"kind": stage.kind, **stage.labels}
        if "genotype" in stage.settings:
            shown["genotype"] = stage.settings["genotype"]
        if "kind" in run.data.params:  # parameters never change, but a stage of the same key may have other labels
            shown = run.data.params
        self.client.log_batch(
            run.info.run_id,
            params=[Param(name, str(value)) for name, value in shown.items()],
            tags=[RunTag(name, str(value)) for name, value in shown.items()],
        )
