"""The live table that a terminal shows while a grid runs."""

import contextlib
import os
import sys
import time
from collections import Counter
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.cluster.watcher import DONE, FAILED, RUNNING, SKIPPED
from pipeline.plan.stage import Plan
from pipeline.reports.progress import Progress, clock, running_names

COLUMNS = ("running", "epoch", "step", "", "elapsed", "left")
EVERY = 0.9  # seconds between two drawings: the driver ticks about once a second
AROUND = 4  # lines that the table has beside those of the stages


def progress_of(plan: Plan, *, quiet: bool = False) -> Progress:
    """Return what shows the progress of a grid: a live table in a terminal, else lines.

    Args:
        plan: Plan that is run.
        quiet: Whether only failures are printed.
    """
    if quiet or not sys.stdout.isatty():
        return Progress(plan, quiet=quiet)
    # Rich sends control sequences, which `Output` would escape. What the table shows has no other ones.
    console = Console(file=getattr(sys.stdout, "stream", sys.stdout), highlight=False, markup=False, emoji=False)
    moves = console.is_terminal and "TERM" in os.environ and not console.is_dumb_terminal
    return LiveProgress(plan, console) if moves else Progress(plan)


class LiveProgress(Progress):
    """A watcher that shows a table of the running stages in a terminal, and prints all lines above it.

    There is no thread: the driver's ticks draw the table anew, about once a second.

    Args:
        plan: Plan that is run.
        console: The terminal. `NO_COLOR` in the environment lets Rich use no colours.
    """

    def __init__(self, plan: Plan, console: Console) -> None:
        super().__init__(plan)
        self.console = console
        self.next_drawing = 0.0
        # Log lines reach the terminal through the console too, unless the standard error goes elsewhere.
        errors = sys.stderr is not None and sys.stderr.isatty()
        self.live = Live(console=console, auto_refresh=False, transient=True, redirect_stderr=errors)

    def tick(self, states: dict[str, str]) -> None:
        """Draw the table anew, at most once a second: many stages may end at once."""
        now = time.monotonic()
        if now < self.next_drawing:
            return
        self.next_drawing = now + EVERY
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.live.start()
            self.live.update(self.table(states), refresh=True)

    def close(self) -> None:
        """Remove the table."""
        with contextlib.suppress(OSError):
            self.live.stop()

    def print_lines(self, lines: str) -> None:
        """Print lines above the table."""
        self.console.print(Text(lines), soft_wrap=True)

    def table(self, states: dict[str, str]) -> Group:
        """Return the line of the whole grid, and below it a table of the running stages."""
        count, now = Counter(states.values()), time.monotonic()
        whole = Table.grid(padding=(0, 1))
        whole.add_row(
            f"{clock(now - self.began):>7} ",
            ProgressBar(total=max(len(states), 1), completed=count[DONE], width=20),
            f"{count[DONE]}/{len(states)} stages done, {count[RUNNING]} running, "
            f"{count[FAILED] + count[SKIPPED]} failed{self.left_in_all(states)}",
        )
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        for name in COLUMNS:
            numbers: Any = {"justify": "right", "no_wrap": True} if name in ("epoch", "step", "elapsed", "left") else {}
            table.add_column(name, **numbers)
        names = running_names(states)
        most = max(1, self.console.height - AROUND)
        for name in names[:most]:
            running = self._running(name)
            left = running.left(now)
            table.add_row(
                name,
                running.epoch,
                running.step,
                running.figure,
                clock(now - running.since),
                "" if left is None else clock(left),
            )
        more = [Text(f"and {len(names) - most} more")] if len(names) > most else []
        return Group(whole, *([table] if names else []), *more)
