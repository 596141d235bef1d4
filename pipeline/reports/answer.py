"""The answer of an experiment: which genotype is best on which target, and which ones may be as good."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Literal

from pipeline.plan.stage import Plan, Stage
from pipeline.reports.differences import Compared, Field, fields
from pipeline.reports.intervals import MEANING, Intervals
from pipeline.reports.labels import published_name
from pipeline.reports.panels import Panel
from pipeline.results import scored_queries

Mark = Literal["", "best", "may be as good", "highest"]
MARKS = (
    "best: the highest mAP of its column. may be as good: it cannot be told apart from the best (5 % level, "
    "Holm's correction for all pairs)."
)
ONCE = "highest: the highest mAP of its column. With one training each, nothing can be said about another training."


@dataclass(frozen=True)
class Score:
    """A cell of a matrix: the scores of a network on a target.

    Attributes:
        mAP: Mean over the retraining seeds in percent.
        low, high: Ends of its 95 % interval; None if it is not known.
        rank1: Mean rank-1 in percent.
        mark: Whether the network is the best one of its column.
        part: Of how many seeds or queries the scores are; empty if they are of all.
    """

    mAP: float
    low: float | None
    high: float | None
    rank1: float
    mark: Mark = ""
    part: str = ""

    @property
    def text(self) -> str:
        """Return mAP with half of its interval."""
        half = "" if self.low is None or self.high is None else f" ± {(self.high - self.low) / 2:.1f}"
        return f"{self.mAP:.1f}{half}"


@dataclass(frozen=True)
class Network:
    """A row of the matrices.

    Attributes:
        number: Its place by mAP in the first matrix, which also names it in charts.
        name: The letters or the baseline, and what else the experiment varies.
        known_as: The published name, and the searches that found it.
    """

    number: int
    name: str
    known_as: str


@dataclass(frozen=True)
class Matrix:
    """Networks × targets of one domain.

    Attributes:
        domain: `In-domain` or `Cross-domain`.
        sentences: A sentence on each column: who is best, and who may be as good.
        columns: Names of the pairs of source and target.
        rows: The networks, the best one first, with a score for each column or None.
        notes: How to read the marks and the intervals.
    """

    domain: str
    sentences: list[str]
    columns: list[str]
    rows: list[tuple[Network, list[Score | None]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def answer(plan: Plan, intervals: Intervals, compared: Sequence[Compared]) -> list[Matrix]:
    """Return a matrix for in-domain scores and one for cross-domain scores, without those that have no score.

    Args:
        plan: A plan that was resolved against a workspace.
        intervals: Function that computes the intervals of scores.
        compared: What `compared_fields` returns.
    """
    found, results = fields(plan), {one.field.name: one for one in compared}
    columns = {one.name: _column(plan, one, intervals, results.get(one.name)) for one in found}
    inside = [one for one in found if plan.experiment.same_domain(one.source, one.target)]
    groups = {"In-domain": inside, "Cross-domain": [one for one in found if one not in inside]}
    numbered = _numbered(found, _ordered(inside or found, columns))
    return [_matrix(domain, some, columns, numbered) for domain, some in groups.items() if some]


def _column(plan: Plan, one: Field, intervals: Intervals, compared: Compared | None) -> dict[str, Score]:
    seeds = len(plan.experiment.retrain_seeds)
    scores = {name: _score(stages, seeds, intervals) for name, stages in one.networks.items()}
    marks = _marks({name: score.mAP for name, score in scores.items()}, compared)
    return {
        name: Score(score.mAP, score.low, score.high, score.rank1, marks.get(name, ""), score.part)
        for name, score in scores.items()
    }


def _score(stages: Sequence[Stage], seeds: int, intervals: Intervals) -> Score:
    metrics = [stage.result["metrics"] for stage in stages if stage.result]
    interval = intervals(stages, "mAP")
    queries = dict.fromkeys(filter(None, map(scored_queries, metrics)))
    parts = [f"{len(metrics)} of {seeds} seeds"] if len(metrics) < seeds else []
    mAP, rank1 = (100 * mean(values[name] for values in metrics) for name in ("mAP", "rank1"))
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Score(mAP, low, high, rank1, part=", ".join([*parts, *queries]))


def _marks(scores: dict[str, float], compared: Compared | None) -> dict[str, Mark]:
    """Return the marks of a column. Nothing is marked if there is nothing to compare."""
    if len(scores) < 2:
        return {}
    best = max(scores, key=scores.__getitem__)
    if compared is None or not compared.result.seed_degrees or best not in compared.result.scores:
        return {best: "highest"}
    return {best: "best", **dict.fromkeys(_as_good(best, compared), "may be as good")}


def _as_good(best: str, compared: Compared) -> Iterator[str]:
    """Yield the networks that cannot be told apart from the best one."""
    result = compared.result
    for pair in result.pairs:
        if best in (pair.a, pair.b) and pair.adjusted_p >= 1 - result.level:
            yield pair.b if pair.a == best else pair.a


def _ordered(found: Sequence[Field], columns: dict[str, dict[str, Score]]) -> list[str]:
    """Return the networks of some columns, ordered by their mean difference from the best one of each column."""
    behind: dict[str, list[float]] = {}
    for one in found:
        column = columns[one.name]
        top = max(score.mAP for score in column.values())
        for name, score in column.items():
            behind.setdefault(name, []).append(top - score.mAP)
    return sorted(behind, key=lambda name: mean(behind[name]))


def _numbered(found: Sequence[Field], first: Sequence[str]) -> dict[str, Network]:
    """Return all networks by name, numbered in the order of `first`, and the others after them."""
    known: dict[str, dict[str, None]] = {name: {} for name in first}
    for one in found:
        for name, stages in one.networks.items():
            letters = name.partition(" ")[0]
            names = [published_name(letters), *(str(stage.labels["origin"]) for stage in stages)]
            known.setdefault(name, {}).update(dict.fromkeys(text for text in names if text not in (letters, name)))
    return {name: Network(n, name, ", ".join(names)) for n, (name, names) in enumerate(known.items(), start=1)}


def _matrix(
    domain: str, found: Sequence[Field], columns: dict[str, dict[str, Score]], networks: dict[str, Network]
) -> Matrix:
    shown = [columns[one.name] for one in found]
    rows = [(networks[name], [column.get(name) for column in shown]) for name in _ordered(found, columns)]
    marks = {score.mark for column in shown for score in column.values()}
    ranged = any(score.low is not None for column in shown for score in column.values())
    notes = [
        *([MARKS] if "best" in marks else []),
        *([ONCE] if "highest" in marks else []),
        *([MEANING] if ranged else []),
    ]
    sentences = [_sentence(one.name, columns[one.name], networks) for one in found]
    return Matrix(domain, sentences, [one.name for one in found], rows, notes)


def _sentence(pair: str, column: dict[str, Score], networks: dict[str, Network]) -> str:
    """Return who is best on a pair of source and target, with mAP, and who may be as good."""

    def told(name: str) -> str:
        known = networks[name].known_as
        return f"{name} ({known})" if known else name

    name, score = max(column.items(), key=lambda item: item[1].mAP)
    value = f"{told(name)} with mAP {score.text} %"
    if score.mark == "":
        return f"{pair}: only {value}."
    if score.mark == "highest":
        return f"{pair}: the highest is {value}; one training each says nothing about another."
    rivals = [other for other, its in column.items() if its.mark == "may be as good"]
    if len(rivals) == len(column) - 1:
        others = "the other one" if len(rivals) == 1 else f"any of the {len(rivals)} others"
        return f"{pair}: the highest is {value}, but it cannot be told apart from {others}."
    if not rivals:
        return f"{pair}: the best is {value}. It is better than all {len(column) - 1} others."
    as_good = ", ".join(rivals) if len(rivals) <= 3 else f"{len(rivals)} of {len(column) - 1} others"
    return f"{pair}: the best is {value}. May be as good: {as_good}."


def matrix_panel(matrix: Matrix) -> Panel:
    """Return a matrix as a table of texts, for Markdown."""
    header = ["#", "network", "known as", *(f"{name}: mAP / rank-1" for name in matrix.columns)]
    rows = [
        [str(network.number), network.name, network.known_as, *(_text(score) for score in scores)]
        for network, scores in matrix.rows
    ]
    return Panel(
        f"answer-{matrix.domain.lower()}",
        f"{matrix.domain}: which genotype is best",
        [header, *rows],
        [*matrix.sentences, *matrix.notes],
    )


def _text(score: Score | None) -> str:
    if score is None:
        return "-"
    part = f" ({score.part})" if score.part else ""
    return f"{score.text} / {score.rank1:.1f}{part}" + (f" {score.mark}" if score.mark else "")
