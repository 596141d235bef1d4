"""The blocks of the documents, and the commands of this project in them."""

import importlib
import pkgutil
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

import pipeline.cli
from pipeline.cli.options import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *(ROOT / folder / "README.md" for folder in ("clusters", "configs/paper", "benchmarks")),
    ]
)
RUN_GRID = "python pipeline/run_grid.py"


@cache
def text(page: str) -> str:
    """Return the content of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str | None = None) -> list[str]:
    """Return the fenced blocks of a page, all or those of one language, without the indentation of a list."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text(page), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, name, block in found if language in (None, name)]


def lines(page: str) -> list[str]:
    """Return the lines of all blocks of shell commands, of which continued ones are joined."""
    shell = [block for name in ("", "sh") for block in blocks(page, name)]
    return [line.strip() for block in shell for line in block.replace("\\\n", "").splitlines()]


def commands(page: str) -> list[list[str]]:
    """Return every command of this project in the blocks of a page, as words: `msinet …`.

    `python pipeline/run_grid.py …` is `msinet run …`, also behind `ray job submit … --`.
    """
    found = []
    for line in lines(page):
        line = re.sub(rf"^(ray job submit .*-- )?{RUN_GRID}", "msinet run", line)
        if line.startswith("msinet "):
            found.append(shlex.split(line, comments=True))
    return found


def mentioned(page: str) -> list[str]:
    """Return every command of this project in running text and in the comments of blocks. It may lack arguments."""
    inline = re.findall(r"`(msinet(?: [^`]+)?)`", text(page).replace("\n", " "))
    comments = [found[1] for line in lines(page) if (found := re.search(r"# .*?\b(msinet [a-z].*)", line))]
    return [" ".join(command.split()) for command in [*inline, *comments]]


def verb_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the verb of `msinet …`, as the command line's own parser knows it, and the words after it.

    Raises:
        KeyError: There is no such verb.
    """
    for module in pkgutil.iter_modules(pipeline.cli.__path__, "pipeline.cli."):
        importlib.import_module(module.name)  # the verbs register themselves
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return command, rest


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the values of the arguments and options of `msinet …`.

    Raises:
        Exception: The parser does not take them.
    """
    verb, rest = verb_of(words)
    values: dict[str, Any] = verb.make_context(verb.name, rest).params
    return values
