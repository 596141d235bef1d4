"""One row for each genotype in MLflow: an experiment of its own, in which scores are means over the seeds."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from msinet.files import json_text
from msinet.parameters import count_of
from msinet.visual.genotype_diagram import genotype_svg
from pipeline.plan.stage import Plan, Stage, content_hash
from pipeline.tracking.client import Client
from pipeline.tracking.describe import genotype_of, genotype_text, note_tags, varied_labels
from pipeline.tracking.facts import ended, specification
from pipeline.tracking.runs import Runs

ROW_TAG, SHOWN_TAG = "msinet.network", "msinet.shown"
SUFFIX = "-genotypes"  # of the experiment's name
DRAWING = "genotype.svg"
SCORES = ("mAP", "rank1", "mINP")
FORM = "1"  # raise it when a row is to show something new


@dataclass(frozen=True)
class Row:
    """A network that was trained on one source, with its finished evaluations.

    Attributes:
        source: The dataset of its training.
        name: Its origin, such as `MSINet` or `60-80 seed 0`, or its letters.
        network: Letters or baseline, with the alignment and the start.
        evaluations: The evaluations on each target, one for each seed.
    """

    source: str
    name: str
    network: str
    evaluations: dict[str, list[Stage]]

    @property
    def metrics(self) -> dict[str, float]:
        """Return for each target the means over the seeds, their deviation, and how many seeds there are."""
        found: dict[str, float] = {}
        for target, stages in self.evaluations.items():
            values = [stage.result["metrics"] for stage in stages if stage.result]
            for name in SCORES:
                scores = [metrics[name] for metrics in values if name in metrics]
                found |= {f"{name}_{target}": mean(scores)} if scores else {}
                found |= {f"{name}_{target}_std": stdev(scores)} if len(scores) > 1 else {}
            found[f"seeds_{target}"] = float(len(values))
        return found

    @property
    def text(self) -> str:
        """Return a table of the targets in Markdown."""
        lines = [
            "| trained on | tested on | mAP | deviation over seeds | rank-1 | seeds |",
            "|---|---|---|---|---|---|",
        ]
        metrics = self.metrics
        for target in self.evaluations:
            deviation = metrics.get(f"mAP_{target}_std")
            cells = [
                self.source,
                target,
                f"**{100 * metrics[f'mAP_{target}']:.1f}**",
                "" if deviation is None else f"{100 * deviation:.1f}",
                f"{100 * metrics[f'rank1_{target}']:.1f}",
                f"{metrics[f'seeds_{target}']:.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, "", "Scores in percent."])


def rows_of(plan: Plan) -> list[Row]:
    """Return the networks of a plan that have finished evaluations on targets, in the plan's order."""
    found: dict[tuple[str, str], Row] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result is None or not stage.on_target:
            continue
        labels = {name: str(value) for name, value in stage.labels.items()}
        letters = str(stage.result.get("genotype") or labels["origin"])
        varied = varied_labels(stage)
        network = " ".join([letters, *varied])
        row = found.setdefault(
            (labels["source"], network), Row(labels["source"], " ".join([labels["origin"], *varied]), network, {})
        )
        there = row.evaluations.setdefault(labels["target"], [])
        if all(stage.key != other.key for other in there):
            there.append(stage)
    return list(found.values())


class Genotypes:
    """The rows of one experiment in MLflow, each written when it changes.

    Args:
        client: MLflow's client.
        runs: The runs of the MLflow experiment that holds the rows.
        plan: Plan whose networks are shown.
    """

    def __init__(self, client: Client, runs: Runs, plan: Plan) -> None:
        self.client, self.runs, self.plan = client, runs, plan
        self._identity = content_hash(specification(plan.experiment))
        self._shown: dict[str, str] = {}

    def show(self) -> None:
        """Write the rows that have changed since they were written last."""
        for row in rows_of(self.plan):
            value = content_hash([self._identity, row.source, row.network])
            stages = [stage for some in row.evaluations.values() for stage in some]
            digest = content_hash([FORM, *sorted(str(stage.key) for stage in stages)])
            if self._shown.get(value) != digest:
                self._write(row, value, stages, digest)
                self._shown[value] = digest

    def _write(self, row: Row, value: str, stages: Sequence[Stage], digest: str) -> None:
        from mlflow.entities import Metric, Param, RunTag

        results = [stage.result for stage in stages if stage.result]
        run = self.runs.only(ROW_TAG, value, row.name, began=int(1000 * min(result["started"] for result in results)))
        run_id = run.info.run_id
        files = {file.path for file in self.client.list_artifacts(run_id)}
        genotype = genotype_of(results[0], self.plan)
        if run.data.tags.get(SHOWN_TAG) == digest and (genotype is None or DRAWING in files):
            return
        at = max(map(ended, results))
        shown = {"genotype": row.network, "source": row.source, "name": row.name}
        metrics = row.metrics
        if genotype:
            metrics["parameters"] = float(count_of(genotype.letters, genotype.space))
        # The description shows the drawing among the artifacts: MLflow's pages leave out pictures within a text.
        drawing = f"![{row.network}](get-artifact?path={DRAWING}&run_uuid={run_id})"
        note = "\n\n".join([row.text, *([genotype_text(genotype), drawing] if genotype else [])])
        self.client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in shown.items()],
            metrics=[Metric(name, number, at, 0) for name, number in metrics.items()],
            tags=[
                RunTag(name, value) for name, value in {"kind": "genotype", **note_tags(run.data.tags, note)}.items()
            ],
        )
        if genotype:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / DRAWING
                path.write_text(genotype_svg(genotype, row.name), encoding="utf-8")
                self.client.log_artifact(run_id, str(path))
        self.client.set_terminated(run_id, "FINISHED", end_time=max(at, run.info.start_time))
        self.client.set_tag(run_id, SHOWN_TAG, digest)


def experiment_tags(plan: Plan) -> dict[str, str]:
    """Return the tags of the MLflow experiment that holds the rows of a plan."""
    # Pages of this kind of experiment open with the table of runs. Others open with traces, which there are none of.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return {**kind, "msinet.targets": json_text(plan.experiment.all_targets)}
