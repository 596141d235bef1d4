"""Accuracy over what a network costs at inference: its parameters, and its latency if it was measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msinet.genotype import Genotype
from msinet.parameters import count_of
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.answer import Matrix, Network, Score
from pipeline.reports.labels import BASELINES, device_of, label_of
from pipeline.reports.panels import Picture

if TYPE_CHECKING:
    from msinet.visual.charts import Chart


def tradeoff_pictures(plan: Plan, matrices: Sequence[Matrix]) -> list[Picture]:
    """Return for each pair of source and target a drawing of mAP over parameters and over latencies.

    Args:
        plan: A plan that was resolved against a workspace.
        matrices: What `answer` returns. The numbers of its rows name the points.
    """
    from msinet.visual.charts import draw_charts
    from msinet.visual.figures import svg_of

    pictures = []
    for matrix in matrices:
        for column, pair in enumerate(matrix.columns):
            scores = {row: score for row, cells in matrix.rows if (score := cells[column]) is not None}
            if charts := list(_charts(plan, scores)):
                caption = f"{pair}: mAP over cost. Numbers are those of the table; a line joins what nothing beats."
                name = "cost-" + re.sub("[^A-Za-z0-9]+", "-", pair)
                pictures.append(Picture(caption, svg_of(draw_charts(charts), name, caption)))
    return pictures


def _charts(plan: Plan, scores: Mapping[Network, Score]) -> "Iterator[Chart]":
    """Yield a chart for each property that at least two networks of a column have."""
    from msinet.visual.charts import Chart, Point, staircase

    for label, figures in {"parameters, million": _parameters(plan), **_latencies(plan)}.items():
        points = [
            Point(figures[name], score.mAP, str(row.number), score.low, score.high)
            for row, score in scores.items()
            if (name := row.name) in figures or (name := _letters(row)) in figures
        ]
        if len(points) > 1:
            yield Chart("", label, "mAP, %", points, staircase(points))


def _letters(row: Network) -> str:
    """Return a network's name without the alignment and the start, which change no cost."""
    return row.name.partition(" ")[0]


def _parameters(plan: Plan) -> dict[str, float]:
    """Return the parameters of each network in millions: those of genotypes are counted, others measured."""
    found = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result and stage.result.get("genotype"):
            genotype = Genotype.parse(stage.result["genotype"], plan.experiment.space)
            found[stage.result["genotype"]] = count_of(genotype.letters, genotype.space) / 1e6
    measured = {_measured(stage): stage.result["metrics"] for stage in plan.of_kind("measure") if stage.result}
    return found | {name: figures["parameters"] / 1e6 for name, figures in measured.items()}


def _latencies(plan: Plan) -> dict[str, dict[str, float]]:
    """Return the latency of each network in ms, by picture size and device, which are not compared."""
    found: dict[str, dict[str, float]] = {}
    for stage in plan.of_kind("measure"):
        if stage.result:
            size = "×".join(map(str, stage.settings.get("image_size", [])))
            setup = f"latency, ms, {size}, {device_of(stage)}"
            found.setdefault(setup, {})[_measured(stage)] = stage.result["metrics"]["latency_ms"]
    return found


def _measured(stage: Stage) -> str:
    """Return the name that rows give to the network of a measurement."""
    assert stage.result is not None
    network = label_of(stage, "network")
    return str(stage.labels["origin"]) if network in BASELINES else str(stage.result.get("genotype", ""))
