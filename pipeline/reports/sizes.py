"""The size and the speed of networks, for the columns in front of their scores."""

from collections.abc import Sequence
from math import hypot

from msinet.recipes import PERSON_SIZE
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.cells import Cell, Column, Row, Table
from pipeline.reports.labels import device_of, network_name
from pipeline.reports.published import STARTS, paper_name, published
from pipeline.reports.states import States


class Sizes:
    """The measurements of a plan as cells.

    Args:
        plan: A plan that was resolved against a workspace.
        state: Function that returns the state of a cell.
    """

    def __init__(self, plan: Plan, state: States) -> None:
        self.measures, self.state = list(plan.of_kind("measure")), state

    def in_front_of(self, table: Table) -> Table:
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
            rows.append(Row(row.group, row.name, [self.parameters(ours, paper.get("params")), *times, *row.cells]))
        caption = (
            f"{table.caption} Inference time: median latency, divided by ResNet-50's in the same setting. The paper's "
            "is that of its person pictures, {}×{}.".format(*PERSON_SIZE)
        )
        return Table(table.number, table.title, caption, [*columns, *table.columns], rows)

    def parameters(self, measures: Sequence[Stage], paper: str | None) -> Cell:
        """Return the cell with the millions of parameters of a network, given its measurements."""
        # The number is the same in every setup, so take one measurement, a finished one if possible.
        chosen = sorted(measures, key=lambda stage: stage.result is None)[:1]
        values = [stage.result["metrics"]["parameters"] / 1e6 for stage in chosen if stage.result]
        return Cell(float(paper.strip("~M")) if paper else None, values, len(chosen), **self.state(chosen))

    def _setup(self, measure: Stage) -> str:
        """Return picture size and device as text. Only times of the same setup are compared."""
        size = "×".join(map(str, measure.settings.get("image_size", [])))
        # A measurement that is not done may have no device yet. It is then expected on the device of the others.
        device = device_of(measure) or next(filter(None, map(device_of, self.measures)), "")
        return ", ".join(filter(None, [size, device]))

    def _relative_time(self, measures: Sequence[Stage], setup: str, paper: float | None) -> Cell:
        reference = [stage for stage in self.measures if network_name(stage) == "ResNet-50"]
        both = [[stage for stage in some if self._setup(stage) == setup][:1] for some in (measures, reference)]
        if setup and not setup.startswith("×".join(map(str, PERSON_SIZE))):
            paper = None  # it was measured on pictures of another size
        if not all(both):
            return Cell(paper)
        stages = [stage for some in both for stage in some]
        done = [stage.result["metrics"] for stage in stages if stage.result]
        if len(done) < 2:
            return Cell(paper, planned=1, **self.state(stages))
        ours, theirs = done
        ratio = ours["latency_ms"] / theirs["latency_ms"]
        # The two medians are independent, so their relative spreads add as squares. ResNet-50's own ratio is exactly 1.
        spread = ratio * hypot(*(m["latency_ms_iqr"] / m["latency_ms"] for m in done)) if ours is not theirs else 0.0
        return Cell(paper, [ratio], 1, spread=spread, spread_of="IQR", **self.state(stages))
