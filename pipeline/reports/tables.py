"""The paper's Tables 7 to 11 for an experiment, with published figures beside the measured ones.

A table has the paper's form. Its columns are the experiment's evaluations. Its rows are those of the paper that have a
figure in these columns, and those of the experiment. Scores are in percent, as in the paper.
"""

from collections.abc import Callable, Iterable, Sequence
from math import hypot
from typing import Any

from msinet.genotype import PUBLISHED, Genotype
from msinet.spaces import PAPER_SPACE
from msinet.spaces.operations import LETTER_OF
from pipeline.plan.candidates import DRAWN
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.cells import Cell, Column, Letters, Row, Table
from pipeline.reports.intervals import Intervals, no_intervals
from pipeline.reports.labels import (
    ALIGNMENTS,
    SEARCHED,
    Pair,
    alignment_of,
    device_of,
    is_searched,
    label_of,
    network_key,
    network_name,
    one_for_each_seed,
    pair_code,
    pair_name,
    pair_of,
    published_name,
    search_suffix,
    split_key,
    start_group,
    supervision_name,
)
from pipeline.reports.published import (
    FROM_FILE,
    PAPER_NAMES,
    SOFTMAX,
    STARTS,
    WITH,
    WITHOUT,
    PublishedRows,
    RowKey,
    columns_of,
    paper_name,
    published,
    published_alignment,
    published_cross_domain,
    published_splits,
    published_supervised,
)
from pipeline.results import scored_queries

TITLES = {
    7: "Genotypes",
    8: "Supervised training, scratch and pre-trained",
    9: "Train/valid identity splits of the search",
    10: "Generalisation to another domain",
    11: "Alignment of feature maps",
}
# The paper's short name for each kind of dataset. The paper's VehicleID column is the test list of 2400 identities.
CODES = {"market1501": "M", "msmt17": "MS", "veri": "VR", "vehicleid": "VID", "vehicleid2400": "VID"}


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
        self.command = command
        self.intervals = intervals
        self.codes = {name: CODES.get(data.kind) for name, data in plan.experiment.datasets.items()}
        # Random genotypes are a baseline for searches, which `reports.luck` shows.
        self.evaluations = [
            stage for stage in plan.of_kind("evaluate") if stage.on_target and DRAWN not in stage.labels
        ]
        self.measures = list(plan.of_kind("measure"))
        self.with_osnet = any(label_of(stage, "network") == "osnet" for stage in self.evaluations)
        self.aligned_groups = {
            start_group(stage) for stage in self.evaluations if label_of(stage, "alignment") != "none"
        }
        asked = list(getattr(plan.experiment, "tables", []))
        self.drawn = [number for number in TITLES if not asked or number in asked]
        if not asked:
            self.drawn = [number for number in TITLES if self._has_cells(number)]

    def build(self) -> list[Table]:
        forms = {7: self._table7, 8: self._table8, 9: self._table9, 10: self._table10, 11: self._table11}
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

    def _table7(self) -> Table:
        rows = [
            self._genotype_row("published", name, Letters(paper=genotype.letters, paper_name=name))
            for name, genotype in PUBLISHED.items()
        ]
        for name in dict.fromkeys(map(published_name, self.plan.experiment.genotypes)):
            if name not in PUBLISHED:
                genotype = Genotype.parse(name, self.plan.experiment.space)
                letters = Letters(measured=genotype.letters, space=genotype.space, status="done")
                rows.append(self._genotype_row("named", name, letters))
        for stage in self.plan.of_kind("search"):
            source, split, seed = (str(stage.labels[label]) for label in ("source", "split", "seed"))
            supervision = label_of(stage, "supervision")
            own, space = search_suffix(stage), self.plan.experiment.space
            key = (self.codes[source] or "", split, supervision)
            # The paper has no searches of other schemes or in other spaces.
            name = "" if own or space != PAPER_SPACE else SEARCHED.get(key, "")
            letters = Letters(
                paper=PUBLISHED[name].letters if name else None,
                measured=Genotype.parse(stage.result["genotype"], space).letters if stage.result else None,
                paper_name=name,
                space=space,
                **self._state([stage]),
            )
            row = f"{source} {split}{own} seed {seed}"
            rows.append(self._genotype_row(f"searched, {supervision_name(supervision)}", row, letters, stage.name))
        order = list(dict.fromkeys(row.group for row in rows))
        used = {operation for row in rows for operation in _operations(row.cells[0])}
        operations = ", ".join(f"{LETTER_OF[name]} {name.replace('_', ' ')}" for name in LETTER_OF if name in used)
        columns = [Column("genotype", "letters", better=0), Column("parameters", "million", digits=3, better=0)]
        table = Table(
            7,
            TITLES[7],
            "The letters are the operations of the twelve interactions, two in each of six cells: "
            f"{operations}. Below the letters of a search are those of the published genotype of the same source, "
            "split and supervision.",
            columns,
            sorted(rows, key=lambda row: order.index(row.group)),
        )
        return table if self.measures else _without_column(table, 1)

    def _genotype_row(self, group: str, name: str, letters: Letters, search: str | None = None) -> Row:
        measures = [
            stage
            for stage in self.measures
            if (search in stage.needs.values() and stage.candidate == 1 if search else network_name(stage) == name)
        ]
        paper = published()["table8_supervised"]["scratch"].get(name, {}).get("params")
        return Row(group, name, [letters, self._parameters(measures, paper)])

    def _table8(self) -> Table:
        table = self._scores(
            8,
            network_key,
            published_supervised(),
            list(STARTS.values()),
            "Networks are trained with labels on one dataset, and evaluated on it and on others.",
        )
        return self._with_measures(table)

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
        datasets = list(self.plan.experiment.datasets)
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
            **self._state(chosen),
        )

    # Size and speed.

    def _with_measures(self, table: Table) -> Table:
        """Return the table with the size and the speed of each network in front of its scores."""
        if not self.measures and not any(column.code for column in table.columns):
            return table
        setups = list(dict.fromkeys(map(self._setup, self.measures))) or [""]
        columns = [
            Column("parameters", "million", digits=2, better=0),
            *(
                Column(", ".join(filter(None, ["inference time", setup])), "× ResNet-50", digits=2, better=-1)
                for setup in setups
            ),
        ]
        rows = []
        for row in table.rows:
            name = row.name.partition(", ")[0]
            ours = [stage for stage in self.measures if network_name(stage) == name]
            start = next(start for start, group in STARTS.items() if group == row.group)
            paper = published()["table8_supervised"][start].get(paper_name(row.name), {})
            times = [self._relative_time(ours, setup, paper.get("inference_time")) for setup in setups]
            rows.append(Row(row.group, row.name, [self._parameters(ours, paper.get("params")), *times, *row.cells]))
        caption = f"{table.caption} Inference time: median latency, divided by ResNet-50's in the same setting."
        return Table(table.number, table.title, caption, [*columns, *table.columns], rows)

    def _setup(self, measure: Stage) -> str:
        """Return picture size and device as text. Only times of the same setup are compared."""
        size = "×".join(map(str, measure.settings.get("image_size", [])))
        # A measurement that is not done may have no device yet. It is then expected on the device of the others.
        device = device_of(measure) or next(filter(None, map(device_of, self.measures)), "")
        return ", ".join(filter(None, [size, device]))

    def _parameters(self, measures: Sequence[Stage], paper: str | None) -> Cell:
        # The number is the same in every setup, so take one measurement, a finished one if possible.
        chosen = sorted(measures, key=lambda stage: stage.result is None)[:1]
        values = [stage.result["metrics"]["parameters"] / 1e6 for stage in chosen if stage.result]
        return Cell(float(paper.strip("~M")) if paper else None, values, len(chosen), **self._state(chosen))

    def _relative_time(self, measures: Sequence[Stage], setup: str, paper: float | None) -> Cell:
        reference = [stage for stage in self.measures if network_name(stage) == "ResNet-50"]
        both = [[stage for stage in some if self._setup(stage) == setup][:1] for some in (measures, reference)]
        if not all(both):
            return Cell(paper)
        stages = [stage for some in both for stage in some]
        done = [stage.result["metrics"] for stage in stages if stage.result]
        if len(done) < 2:
            return Cell(paper, planned=1, **self._state(stages))
        ours, theirs = done
        ratio = ours["latency_ms"] / theirs["latency_ms"]
        # The two medians are independent, so their relative spreads add as squares. ResNet-50's own ratio is exactly 1.
        spread = ratio * hypot(*(m["latency_ms_iqr"] / m["latency_ms"] for m in done)) if ours is not theirs else 0.0
        return Cell(paper, [ratio], 1, spread=spread, spread_of="IQR", **self._state(stages))

    # The state of cells that are not done.

    def _state(self, stages: Sequence[Stage]) -> dict[str, Any]:
        """Return status and note of a cell that needs the results of all the given stages."""
        undone = [stage for stage in stages if stage.result is None]
        if not stages:
            return {"status": "not planned"}
        if not undone:
            return {"status": "done"}
        missing = list(dict.fromkeys(sentence for stage in undone for sentence in self._missing(stage)))
        if missing:
            return {"status": "lacks", "note": "\n".join(missing)}
        known = any(stage.key is not None for stage in undone)
        return {"status": "to run" if known else "pending", "note": self.command}

    def _missing(self, stage: Stage) -> list[str]:
        """Return what a stage lacks, and what the stages that it needs lack."""
        if stage.result is not None:
            return []
        lacks = getattr(stage, "lacks", None)
        needed = [self.plan.stages[name] for name in stage.needs.values()]
        return [*([lacks] if lacks else []), *(sentence for other in needed for sentence in self._missing(other))]


def _published_places(rows: PublishedRows) -> list[tuple[Pair | None, Column]]:
    """Return the paper's own columns, for a table in which the experiment has no cell."""
    metrics = {code: list(figures) for scores in rows.values() for code, figures in scores.items()}
    return [
        (None, Column(" → ".join(PAPER_NAMES[name] for name in code.split("->")), metric, code))
        for code in columns_of(rows)
        for metric in metrics[code]
    ]


def _without_column(table: Table, index: int) -> Table:
    rows = [Row(row.group, row.name, [*row.cells[:index], *row.cells[index + 1 :]]) for row in table.rows]
    columns = [*table.columns[:index], *table.columns[index + 1 :]]
    return Table(table.number, table.title, table.caption, columns, rows)


def _operations(cell: Cell | Letters) -> tuple[str, ...]:
    """Return the operations of a genotype's space."""
    return cell.space.columns if isinstance(cell, Letters) else ()
