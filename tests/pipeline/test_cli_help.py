"""The command line explains itself: groups of verbs, examples, the version, and completion in a shell."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from support.command_line import environment

from pipeline.cli import main
from pipeline.cli.options import GROUPS, app


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert not ended.value.code
    return capsys.readouterr().out


def test_help_has_every_verb_in_one_group_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, "--help")
    commands = typer.main.get_group(app).commands  # type: ignore[attr-defined]
    lines = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line.split()]
    assert [name for name in commands if lines.count(name) != 1] == []
    assert "Others:" not in told, "a new verb needs a place in GROUPS"
    assert all(f"\n{title}:\n" in told for title in GROUPS)
    assert "\n    msinet run cars.yaml --until search   a part of it\n" in told
    assert "\\x" not in told


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"msinet {version('msinet')}\n"


def test_a_shell_completes_verbs(tmp_path: Path) -> None:
    program = tmp_path / "msinet"  # the shell asks the program by its name
    program.write_text("from pipeline.cli import main\nmain()\n")
    asked = {"_MSINET_COMPLETE": "complete_bash", "COMP_WORDS": "msinet pre", "COMP_CWORD": "1"}
    command = [sys.executable, str(program)]
    ran = subprocess.run(command, env=environment(tmp_path, **asked), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, ["prepare"]), ran.stderr
