"""Replay a scheme of a bench beside random search."""

from dataclasses import dataclass
from pathlib import Path

from msinet.bench import Bench, BenchError, Group, load
from msinet.spaces import Space
from pipeline.bench.replay import Array, Replay, Table, curve, difference, replay, table_of
from pipeline.bench.schemes import scheme_of
from pipeline.errors import RequestError

LARGEST_DEFAULT = 50  # trainings


@dataclass(frozen=True)
class Versus:
    """A scheme beside random search.

    Attributes:
        name: Name of the scheme.
        front: Whether fronts of score and parameters were valued, and not single choices.
        table: The scores.
        criterion, target: The groups that the scheme saw, and by which it was valued.
        found: What the scheme chose.
        curves: The scheme's curve by its name; if it is not random search, also that of `random` and `difference`.
    """

    name: str
    front: bool
    table: Table
    criterion: Group
    target: Group
    found: Replay
    curves: dict[str, Array]


def versus_random(
    path: Path,
    name: str,
    budget: int | None,
    repeats: int,
    *,
    target: str | None = None,
    by: str | None = None,
    source: str | None = None,
    recipe: str | None = None,
    space: str | None = None,
    seed: int = 0,
) -> Versus:
    """Replay a scheme and random search with equal budgets on the same draws.

    Args:
        path: The bench.
        name: Name of the scheme.
        budget: Trainings in each repeat; None for half of the genotypes, at most 50.
        repeats: Number of repeats.
        target, by: Names of the target that values the choice, and of the one whose scores the scheme sees; None for
            the only in-domain target, and for the same one.
        source, recipe, space: What else is necessary to name one group of scores.
        seed: Seed of all draws.

    Raises:
        RequestError: The file is no bench, it has no such scores, or too few of them.
    """
    scheme, chance = scheme_of(name), scheme_of("random")
    try:
        bench = load(path)
        valued = bench.group(target or _in_domain(bench), source=source, recipe=recipe, space=space)
        seen = valued if by in (None, valued.target) else _criterion(bench, valued, by)
    except BenchError as error:
        raise RequestError(str(error)) from None
    table = table_of(seen, valued, Space.from_document(bench.facts["spaces"][valued.space]), scheme.needs)
    spent = min(LARGEST_DEFAULT, len(table.genotypes) // 2) if budget is None else budget
    found = replay(table, scheme, spent, repeats, seed, front=scheme.front)
    curves = {name: curve(table, found, seed)}
    if name != "random":
        drawn = replay(table, chance, spent, repeats, seed, front=scheme.front)
        curves |= {"random": curve(table, drawn, seed), "difference": curve(table, difference(found, drawn), seed)}
    return Versus(name, scheme.front, table, seen, valued, found, curves)


def _in_domain(bench: Bench) -> str | None:
    """Return the only target that is in-domain, or None if there are several or none."""
    names = {group.target for group in bench.groups if group.domain == "in_domain"}
    return names.pop() if len(names) == 1 else None


def _criterion(bench: Bench, valued: Group, name: str | None) -> Group:
    """Return the scores on another target: of the same trainings if there are some, otherwise of others."""
    same = [
        group
        for group in bench.groups
        if (group.target, group.source, group.recipe, group.space) == (name, valued.source, valued.recipe, valued.space)
    ]
    return same[0] if same else bench.group(name, source=valued.source, space=valued.space)
