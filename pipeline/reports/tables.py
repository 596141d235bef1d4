"""The paper's Tables 7 to 11 for an experiment, with published figures beside the measured ones.

A table has the paper's form. Its columns are the experiment's evaluations. Its rows are those of the paper that have a
figure in these columns, and those of the experiment. Scores are in percent, as in the paper.
"""

from collections.abc import Callable, Iterable, Sequence

from pipeline.plan.candidates import DRAWN
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.alike import as_in_the_paper
from pipeline.reports.cells import Cell, Column, Row, Table
from pipeline.reports.genotype_table import genotype_table
from pipeline.reports.intervals import Intervals, no_intervals
from pipeline.reports.labels import (
    ALIGNMENTS,
    Pair,
    alignment_of,
    is_searched,
    label_of,
    network_key,
    one_for_each_seed,
    pair_code,
    pair_name,
    pair_of,
    paper_codes,
    split_key,
    start_group,
)
from pipeline.reports.published import (
    FROM_FILE,
    PAPER_NAMES,
    SOFTMAX,
    STARTS,
    TITLES,
    WITH,
    WITHOUT,
    PublishedRows,
    RowKey,
    columns_of,
    published_alignment,
    published_cross_domain,
    published_splits,
    published_supervised,
)
from pipeline.reports.sizes import Sizes
from pipeline.reports.states import States
from pipeline.results import scored_queries


def build_tables(plan: Plan, command: str, intervals: Intervals = no_intervals) -> list[Table]:
    """Return the tables of an experiment.

    Args:
        plan: A plan that was resolved against a workspace.
        command: The command that fills the cells that are not done, such as `msinet run grid.yaml`.
        intervals: Function that computes the intervals of scores.

    Returns:
        The tables that the experiment's `tables` names, even if nothing fills them; by default those for which the
        experiment has a cell.
    """
    return _Builder(plan, command, intervals).build()


class _Builder:
    """Builds the tables: it sorts the stages of a plan into cells."""

    def __init__(self, plan: Plan, command: str, intervals: Intervals) -> None:
        self.plan = plan
        self.state = States(plan, command)
        self.intervals = intervals
        self.codes = paper_codes(plan.experiment)
        # Random genotypes are a baseline for searches, which `reports.luck` shows.
        self.evaluations = [
            stage for stage in plan.of_kind("evaluate") if stage.on_target and DRAWN not in stage.labels
        ]
        self.sizes = Sizes(plan, self.state)
        self.with_osnet = any(label_of(stage, "network") == "osnet" for stage in self.evaluations)
        self.aligned_groups = {
            start_group(stage) for stage in self.evaluations if label_of(stage, "alignment") != "none"
        }
        asked = list(getattr(plan.experiment, "tables", []))
        self.drawn = [number for number in TITLES if not asked or number in asked]
        if not asked:
            self.drawn = [number for number in TITLES if self._has_cells(number)]

    def build(self) -> list[Table]:
        forms = {
            7: lambda: genotype_table(self.plan, self.state, self.sizes),
            8: self._table8,
            9: self._table9,
            10: self._table10,
            11: self._table11,
        }
        return [forms[number]() for number in self.drawn]

    # Which stage belongs in which table.

    def _has_cells(self, number: int) -> bool:
        if number == 7:
            return bool(list(self.plan.of_kind("search")) or self.plan.experiment.genotypes)
        return bool(self._stages(number))

    def _stages(self, number: int) -> list[Stage]:
        """Return the evaluations that a table shows.

        An evaluation is in one table only, except for those without alignment in Table 11, which are also in another.
        """
        belongs = {8: self._in_table8, 9: is_searched, 10: self._in_table10, 11: self._in_table11}[number]
        aligned_elsewhere = number != 11 and 11 in self.drawn
        return [
            stage
            for stage in self.evaluations
            if belongs(stage) and not (aligned_elsewhere and label_of(stage, "alignment") != "none")
        ]

    def _in_table8(self, stage: Stage) -> bool:
        return not is_searched(stage) and not (10 in self.drawn and self._in_table10(stage))

    def _in_table10(self, stage: Stage) -> bool:
        """Return whether Table 10 shows the pair.

        It shows the paper's pairs, and with OSNet also pairs that are in no table of the paper. If Table 8 is not
        drawn, it shows all cross-domain pairs.
        """
        pair = pair_of(stage)
        if is_searched(stage) or stage.labels["domain"] == "in_domain":
            return False
        code = self._code(pair)
        if 8 not in self.drawn or code in columns_of(published_cross_domain([""])):
            return True
        return self.with_osnet and code not in columns_of(published_supervised())

    def _in_table11(self, stage: Stage) -> bool:
        return start_group(stage) in self.aligned_groups

    # The five tables.

    def _table8(self) -> Table:
        table = self._scores(
            8,
            network_key,
            published_supervised(),
            list(STARTS.values()),
            "Networks are trained with labels on one dataset, and evaluated on it and on others.",
        )
        return self.sizes.in_front_of(table)

    def _table9(self) -> Table:
        return self._scores(
            9,
            split_key,
            published_splits(),
            [WITHOUT, WITH, FROM_FILE, SOFTMAX],
            "Genotypes are searched on each column's source with a split T-V: T percent of its identities train the "
            "weights, and V percent train α. They are then retrained on the same source.",
        )

    def _table10(self) -> Table:
        planned = {label_of(stage, "start") for stage in self._stages(10)}
        starts = [group for start, group in STARTS.items() if start in planned]
        return self._scores(
            10,
            network_key,
            published_cross_domain(starts or [""]),
            starts or [""],
            "Networks are trained on the first dataset, and evaluated on the second without its labels. The paper's "
            "table does not say from which start, so its figures are repeated for each.",
        )

    def _table11(self) -> Table:
        groups = list(dict.fromkeys(map(start_group, self._stages(11)))) or ["MSINet"]
        return self._scores(
            11,
            lambda stage: RowKey(start_group(stage), alignment_of(stage)),
            published_alignment([group for group in groups if group.partition(",")[0] == "MSINet"]),
            groups,
            "Networks are retrained with each alignment loss. The paper's table does not say from which start, so its "
            "figures are repeated for each.",
        )

    # Scores.

    def _scores(
        self,
        number: int,
        key: Callable[[Stage], RowKey],
        paper: PublishedRows,
        groups: Sequence[str],
        caption: str,
    ) -> Table:
        """Return a table of scores, with a row for each key and two columns for each pair of source and target."""
        stages = self._stages(number)
        by_cell: dict[tuple[RowKey, Pair | None], list[Stage]] = {}
        for stage in stages:
            by_cell.setdefault((key(stage), pair_of(stage)), []).append(stage)
        places = self._places(stages) or _published_places(paper)
        codes = {column.code for _, column in places}
        theirs = [row for row, figures in paper.items() if codes & figures.keys()]
        keys = dict.fromkeys([*theirs, *(row for row, _ in by_cell)])
        rows = [
            Row(
                *row,
                [
                    self._score(
                        by_cell.get((row, pair), []),
                        column.metric,
                        paper.get(row, {}).get(column.code or "", {}).get(column.metric),
                    )
                    for pair, column in places
                ],
            )
            # The paper has the row without alignment in another table. In Table 11 it comes first in its group.
            for row in sorted(keys, key=lambda row: (groups.index(row.group), row.name != ALIGNMENTS["none"]))
        ]
        columns = [column for _, column in places]
        return Table(number, TITLES[number], f"{caption}{self._mapping(columns)}", columns, rows)

    def _places(self, stages: Iterable[Stage]) -> list[tuple[Pair | None, Column]]:
        """Return the columns for some evaluations: in-domain first, then in the order of the experiment's datasets."""
        datasets = [*self.plan.experiment.datasets, *self.plan.experiment.combined]
        pairs = sorted(
            {pair_of(stage) for stage in stages},
            key=lambda pair: (pair.source != pair.target, datasets.index(pair.source), datasets.index(pair.target)),
        )
        return [
            (pair, Column(pair_name(*pair), metric, self._code(pair)))
            for pair in pairs
            for metric in ("rank1", "rank5" if self._is_vehicleid(pair.target) else "mAP")
        ]

    def _is_vehicleid(self, dataset: str) -> bool:
        return self.plan.experiment.datasets[dataset].family == "vehicleid"

    def _code(self, pair: Pair) -> str | None:
        source, target = self.codes[pair.source], self.codes[pair.target]
        if source is None or target is None:
            return None
        # A pair of two copies of the same dataset is not in the paper.
        return pair_code(source, target) if (source == target) == (pair.source == pair.target) else None

    def _mapping(self, columns: Sequence[Column]) -> str:
        """Return a sentence that says which dataset of the paper each dataset in the columns is."""
        shown = {name for column in columns if column.code for name in column.name.split(" → ")}
        told = [f"{name} is {PAPER_NAMES[code]}" for name, code in self.codes.items() if code and name in shown]
        return f" {', '.join(told)}." if told else ""

    def _score(self, stages: Sequence[Stage], metric: str, paper: float | None) -> Cell:
        chosen = one_for_each_seed(stages)
        paper = paper if all(as_in_the_paper(self.plan, stage) for stage in chosen) else None
        done = [stage for stage in chosen if stage.result]
        metrics = [stage.result["metrics"] for stage in done if stage.result]
        over_draws = [100 * m[f"{metric}_std"] for m in metrics if f"{metric}_std" in m]
        return Cell(
            paper,
            [100 * m[metric] for m in metrics],
            len(chosen),
            interval=self.intervals(done, metric) if done else None,
            spread=over_draws[0] if len(over_draws) == 1 else None,
            spread_of="draws" if len(over_draws) == 1 else "",
            queries=", ".join(dict.fromkeys(filter(None, map(scored_queries, metrics)))),
            **self.state(chosen),
        )


def _published_places(rows: PublishedRows) -> list[tuple[Pair | None, Column]]:
    """Return the paper's own columns, for a table in which the experiment has no cell."""
    metrics = {code: list(figures) for scores in rows.values() for code, figures in scores.items()}
    return [
        (None, Column(" → ".join(PAPER_NAMES[name] for name in code.split("->")), metric, code))
        for code in columns_of(rows)
        for metric in metrics[code]
    ]
