"""The command line explains itself: groups of verbs, examples, the version, and completion in a shell."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import typer
from support.command_line import environment

import pipeline.cli
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


def verbs(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every verb with its words, such as `bench build`, and the groups that hold them."""
    yield words, group
    for name, verb in getattr(group, "commands", {}).items():
        yield from verbs(verb, *words, name)


def parsed(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Read a command line as `msinet` does, but run nothing. Return the verb's words and its values.

    Raises:
        click.UsageError: The command line is wrong.
    """
    found, context = typer.main.get_group(app), None
    names: list[str] = []
    while hasattr(found, "commands"):
        context = found.make_context(words[0], words[1:], parent=context)
        name, found, words = found.resolve_command(context, [*context._protected_args, *context.args])
        names, words = [*names, name], [name, *words]
    return names, found.make_context(words[0], words[1:], parent=context).params


def examples_of(verb: Any) -> list[str]:
    """Return the command lines at the end of a verb's help, without what is said about them."""
    lines = (verb.epilog or "").splitlines()
    return [re.split("  +", line.strip())[0] for line in lines if line.startswith("  msinet ")]


for module in iter_modules(pipeline.cli.__path__):  # the verbs register themselves
    import_module(f"pipeline.cli.{module.name}")
VERBS = list(verbs(typer.main.get_group(app)))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("words", "verb"), VERBS, ids=[" ".join(words) for words, _ in VERBS])
def test_the_examples_in_a_help_can_be_typed(
    words: tuple[str, ...], verb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told, examples = printed(capsys, *words, "--help"), examples_of(verb)
    assert 1 <= len(examples) <= (6 if not words else 3)
    assert all(f"\n    {example}" in told for example in examples)
    assert max(map(len, told.split("Examples:")[1].splitlines())) <= 100
    for example in examples:
        names, values = parsed(shlex.split(example))
        assert tuple(names[: len(words)]) == words
        for experiment in (value for name in ("experiment", "experiments") for value in as_list(values.get(name))):
            assert experiment.suffix == ".yaml", f"{experiment} is no experiment that comes with msinet"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else list(value) if isinstance(value, tuple) else [value] if value else []


@pytest.mark.parametrize(
    "wrong", ["msinet run --untill search", "msinet bench replay x", "msinet clean", "msinet ui -1"]
)
def test_a_wrong_example_would_be_found(wrong: str) -> None:
    with pytest.raises(Exception, match=r"No such option|Missing"):
        parsed(shlex.split(wrong))


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"msinet {version('msinet')}\n"


def test_a_shell_completes_verbs(tmp_path: Path) -> None:
    program = tmp_path / "msinet"  # the shell asks the program by its name
    program.write_text("from pipeline.cli import main\nmain()\n")
    asked = {"_MSINET_COMPLETE": "complete_bash", "COMP_WORDS": "msinet pre", "COMP_CWORD": "1"}
    command = [sys.executable, str(program)]
    ran = subprocess.run(command, env=environment(tmp_path, **asked), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, ["prepare"]), ran.stderr
