"""The live table: what a person sees in a terminal while a grid runs, and what is left of it afterwards."""

import io
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.command_line import ROOT, environment
from support.terminal import Terminal

from pipeline.cluster.watcher import DONE, FAILED, RUNNING, WAITING
from pipeline.config.experiment import Experiment
from pipeline.output import Output
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.reports.live import LiveProgress, progress_of
from pipeline.reports.progress import Progress
from pipeline.results import Failure, Step


class Shown:
    """A live table on a pretended terminal."""

    def __init__(self, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **size: int) -> None:
        self.now = 1000.0
        for module in ("progress", "live"):
            monkeypatch.setattr(f"pipeline.reports.{module}.time", self)
        self.out = io.StringIO()
        self.plan: Plan = plan(Experiment.model_validate(document))
        self.progress = LiveProgress(self.plan, Console(file=self.out, force_terminal=True, **{"width": 90, **size}))
        self.states = dict.fromkeys(self.plan.stages, WAITING)

    def monotonic(self) -> float:
        return self.now

    def start(self, kind: str) -> Stage:
        stage = next(stage for stage in self.plan.of_kind(kind) if self.states[stage.name] == WAITING)
        self.states[stage.name] = RUNNING
        self.progress.started(stage)
        return stage

    def screen(self) -> list[str]:
        self.progress.next_drawing = 0.0
        self.progress.tick(self.states)
        return [line.rstrip() for line in Terminal(self.out.getvalue()).lines if line]


@pytest.fixture
def shown(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    tiny["search"]["epochs"] = 10
    shown = Shown(tiny, monkeypatch)
    with closing(shown.progress):  # the table holds the standard output as long as it is shown
        yield shown


def test_the_table_names_what_runs_and_the_time_that_is_left_moves(shown: Shown) -> None:
    prepare, search = shown.start("prepare"), shown.start("search")
    assert "0/6 stages done, 2 running, 0 failed" in shown.screen()[0]
    shown.now += 42
    shown.progress.stepped(search, Step(epoch=0, epochs=10, step=10, steps=40, seconds=10.0))
    whole, header, *rows = shown.screen()
    assert "left in all" in whole
    assert header.split() == ["running", "epoch", "step", "elapsed", "left"]
    assert [row.split("  ")[0] for row in rows] == ["prepare street", "search street 60-80 seed 0"]
    assert rows[0].split()[2:] == ["0:42"], "nothing else is known"
    assert rows[1].split()[5:] == ["1/10", "10/40", "0:42", "6:30"]
    shown.now += 5
    assert shown.screen()[3].split()[-2:] == ["0:47", "6:25"]
    shown.progress.reported(search, [{"epoch": 0, "epochs": 10, "train_loss": 5.1234, "seconds": 30.0}])
    assert "1/10" in shown.screen()[3]
    assert "loss 5.123" in shown.screen()[3]
    prepare.result = {"seconds": 1.0, "images": {"train": 40}}
    shown.states[prepare.name] = DONE
    shown.progress.finished(prepare)
    event, whole, _, *rows = shown.screen()
    assert event.startswith("   0:47  done    prepare street in 0:01"), "above the table"
    assert "1/6 stages done, 1 running" in whole
    assert len(rows) == 1


def test_nothing_of_the_table_stays(shown: Shown) -> None:
    with closing(shown.progress):
        search = shown.start("search")
        shown.screen()
        shown.progress.failed(search, Failure("it broke\x1b[31m [bold]:smile:[/bold]"))
        shown.states[search.name] = FAILED
        assert not Terminal(shown.out.getvalue()).cursor
        shown.screen()
        shown.progress.summary(shown.states)
    terminal = Terminal(shown.out.getvalue())
    assert terminal.cursor, "it is shown again"
    assert [line.rstrip() for line in terminal.lines if line] == [
        "   0:00  FAILED  search street 60-80 seed 0: it broke\\x1b[31m [bold]:smile:[/bold]",
        "   0:00  stages: 0 done, 0 running, 5 pending, 1 failed",
    ]


def test_many_stages_do_not_leave_the_terminal(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny["search_seeds"] = list(range(30))
    shown = Shown(tiny, monkeypatch, height=12)
    for _ in range(30):
        shown.start("search")
    with closing(shown.progress):
        lines = shown.screen()
    assert len(lines) == 11
    assert "30 running" in lines[0]
    assert lines[-1] == "and 22 more"


def test_many_ticks_draw_the_table_once(shown: Shown) -> None:
    shown.start("search")
    shown.screen()
    length = len(shown.out.getvalue())
    for _ in range(5):
        shown.now += 0.1
        shown.progress.tick(shown.states)
    assert len(shown.out.getvalue()) == length
    shown.now += 0.5
    shown.progress.tick(shown.states)
    assert len(shown.out.getvalue()) > length


@pytest.mark.parametrize("colours", [True, False])
def test_colours_can_be_turned_off(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, colours: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    shown = Shown(tiny, monkeypatch)
    shown.start("search")
    with closing(shown.progress):
        shown.screen()
    assert bool(re.search(r"\x1b\[(38;5;\d+|[39]\d)m", shown.out.getvalue())) == colours


class Away(io.StringIO):
    """A terminal that is gone."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_is_gone_is_no_reason_to_raise(experiment: Experiment) -> None:
    planned = plan(experiment)
    progress = LiveProgress(planned, Console(file=Away(), force_terminal=True))
    search = next(planned.of_kind("search"))
    progress.started(search)
    progress.tick({search.name: RUNNING})
    progress.failed(search, Failure("it broke"))
    progress.close()


class Tty(io.StringIO):
    """An output that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "term", "quiet", "live"),
    [
        (Tty(), "xterm", False, True),
        (Output(Tty()), "xterm", False, True),
        (io.StringIO(), "xterm", False, False),
        (Tty(), "dumb", False, False),
        (Tty(), None, False, False),
        (Tty(), "xterm", True, False),
    ],
)
def test_only_a_terminal_gets_a_table(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, out: Any, term: str | None, quiet: bool, live: bool
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", out)
    progress = progress_of(plan(experiment), quiet=quiet)
    assert type(progress) is (LiveProgress if live else Progress)
    assert progress.quiet == quiet


INTERRUPTED = """
import contextlib, logging, sys
from support.grids import tiny_document
from pipeline.cluster.watcher import RUNNING, WAITING
from pipeline.config.experiment import Experiment
from pipeline.output import Output, say
from pipeline.plan.unfold import plan
from pipeline.reports.live import progress_of

with contextlib.redirect_stdout(Output(sys.stdout)), contextlib.suppress(KeyboardInterrupt):
    planned = plan(Experiment.model_validate(tiny_document()))
    with contextlib.closing(progress_of(planned)) as progress:
        progress.began -= 100
        states = dict.fromkeys(planned.stages, WAITING)
        search = next(planned.of_kind("search"))
        progress.started(search)
        progress.tick(states | {search.name: RUNNING})
        logging.getLogger("pipeline").warning("the workspace does not answer")
        progress.retried(search, "its worker was lost " * 6)
        progress.tick(states | {search.name: RUNNING})
        say("a line")
        progress.tick(states | {search.name: RUNNING})
        raise KeyboardInterrupt
print("interrupted", file=sys.stderr)
"""


def in_a_terminal(code: str, folder: Path, **variables: str) -> str:
    """Run Python with a pseudo terminal as its standard output and error, and return what the terminal received."""
    ours, theirs = pty.openpty()
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    env = environment(folder, PYTHONPATH=path, COLUMNS="80", LINES="24", **variables)
    env.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    received = b""
    try:
        while part := os.read(ours, 65536):
            received += part
    except OSError:
        pass  # Linux's end of a terminal that nobody holds any more
    finally:
        os.close(ours)
    assert process.wait(60) == 0, received.decode()
    return received.decode()


def test_an_interrupt_leaves_a_terminal_in_order(tmp_path: Path) -> None:
    received = in_a_terminal(INTERRUPTED, tmp_path, TERM="xterm-256color")
    assert received.count("1 running") >= 3, "the table was there"
    terminal = Terminal(received)
    assert terminal.cursor
    assert [line.rstrip() for line in terminal.lines if line] == [
        "the workspace does not answer",
        f"   1:40  again   search street 60-80 seed 0: {'its worker was lost ' * 6}".rstrip(),
        "a line",
        "interrupted",
    ]


def test_log_lines_go_elsewhere_if_the_standard_error_does(shown: Shown, caplog: pytest.LogCaptureFixture) -> None:
    errors = sys.stderr
    with closing(shown.progress):
        shown.screen()
        assert sys.stderr is errors, "a file receives the log lines, as before"
        logging.getLogger("pipeline").warning("a warning")
    assert "a warning" not in shown.out.getvalue()
