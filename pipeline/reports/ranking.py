"""Do scores under a search's shared weights rank genotypes as retraining does?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msinet.statistics import Interval
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.correlation import coefficient_text, rank_correlations
from pipeline.reports.panels import Panel, Picture
from pipeline.reports.selection import METRIC, score_of, scored_genotypes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPLANATION = (
    "Scores under shared weights are mAP on the validation pictures of the search, with batch norms that are estimated "
    "anew for each genotype. Retrained scores are mAP on the target, means over the retraining seeds. Intervals are of "
    "95 % and treat the genotypes as a random sample. An interval that contains 0 means that the shared weights may as "
    "well rank by chance."
)


@dataclass(frozen=True)
class Ranking:
    """Genotypes under the weights of one search, and after retraining on one target.

    Attributes:
        supernet: Source, split and seed of the search.
        target: The target or the held-out pictures of the source, and the alignment and the start if these vary.
        points: (score under shared weights, retrained score, name) of each genotype that has both, as fractions.
        planned: How many genotypes are scored when everything is done.
    """

    supernet: str
    target: str
    points: list[tuple[float, float, str]]
    planned: int

    @property
    def correlations(self) -> tuple[Interval, Interval] | None:
        """Return Kendall's τ and Spearman's ρ with their intervals; None for too few or equal scores."""
        shared, retrained = [x for x, _, _ in self.points], [y for _, y, _ in self.points]
        return rank_correlations(shared, retrained)


def rankings(plan: Plan) -> Iterator[Ranking]:
    """Yield a ranking for each search and each target of its source on which a genotype is done."""
    seeds, by_search = len(plan.experiment.retrain_seeds), _scores_by_search(plan)
    for name, stages in by_search.items():
        source = str(stages[0].labels["source"])
        shared = {str(s.result["genotype"]): float(s.result["metrics"][METRIC]) for s in stages if s.result}
        sides: dict[str, list[tuple[float, float, str]]] = {}
        for row in scored_genotypes(plan, source):
            letters, _, variant = row.name.partition(" ")
            for target, evaluations in [*row.tests.items(), (f"held-out {source}", row.held_out)]:
                score = score_of(evaluations, seeds)
                if letters in shared and score is not None:
                    side = " ".join(filter(None, [target, variant]))
                    sides.setdefault(side, []).append((shared[letters], score, letters))
        for side, points in sides.items():
            yield Ranking(name, side, points, len({stage.key or stage.name for stage in stages}))


def _scores_by_search(plan: Plan) -> dict[str, list[Stage]]:
    found: dict[str, list[Stage]] = {}
    for stage in plan.of_kind("score"):
        found.setdefault(stage.needs["supernet"].removeprefix("search "), []).append(stage)
    return found


def ranking_panels(plan: Plan) -> list[Panel]:
    """Return how well shared weights rank, nothing unless the experiment asks for it with `rank`."""
    rows = [_row(ranking) for ranking in rankings(plan)]
    if not rows:
        return []
    header = ["search", "retrained, on", "genotypes", "Kendall's τ", "Spearman's ρ"]
    return [Panel("ranking", "Shared weights against retraining", [header, *rows], [EXPLANATION])]


def ranking_figures(plan: Plan) -> "Iterator[tuple[str, Figure]]":
    """Yield the caption and the scatter plot of each ranking with at least two genotypes."""
    from msinet.visual.alphas import draw_ranking

    for ranking in rankings(plan):
        if len(ranking.points) > 1:
            title = f"{ranking.supernet}: shared weights against retraining on {ranking.target}"
            told = "" if ranking.correlations is None else f"\nKendall's τ {coefficient_text(ranking.correlations[0])}"
            percent = [(100 * x, 100 * y, name) for x, y, name in ranking.points]
            axes = "mAP under shared weights, validation side, %", f"mAP retrained, {ranking.target}, %"
            yield title, draw_ranking(percent, title + told, *axes)


def ranking_pictures(plan: Plan) -> list[Picture]:
    """Return the scatter plots as drawings for a page."""
    from msinet.visual.figures import svg_of

    figures = enumerate(ranking_figures(plan), start=1)
    return [Picture(title, svg_of(figure, f"ranking{number}", title)) for number, (title, figure) in figures]


def _row(ranking: Ranking) -> list[str]:
    done = f"{len(ranking.points)} of {ranking.planned}"
    values = ["-", "-"] if ranking.correlations is None else [coefficient_text(value) for value in ranking.correlations]
    return [ranking.supernet, ranking.target, done, *values]
