"""Read a bench, and choose the rows that can be compared with each other."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from msinet.bench.layout import FACTS, METRICS, PER_QUERY, SCHEMA, VERSION
from msinet.statistics import QueryScores

AXES = ("source", "target", "recipe", "space")


class BenchError(ValueError):
    """A file is no bench, or a bench does not have what was asked for."""


@dataclass(frozen=True, eq=False)
class Group:
    """The rows of a bench that can be compared: one source, target, recipe and space.

    Attributes:
        source, target, recipe, space: What the rows have in common.
        domain: `in_domain`, `cross_domain` or `held_out`.
        table: The rows.
        queries: The identity of each query of the target.
    """

    source: str
    target: str
    recipe: str
    space: str
    domain: str
    table: pa.Table
    queries: list[str] = field(repr=False)

    @property
    def name(self) -> str:
        """Return what people call the group, such as `street → campus`."""
        return self.source if self.source == self.target else f"{self.source} → {self.target}"

    @cached_property
    def genotypes(self) -> list[str]:
        """Return the genotypes in alphabetical order."""
        return sorted(set(self.table["genotype"].to_pylist()))

    def scores(self, metric: str = "mAP") -> dict[str, dict[int, float]]:
        """Return the score of each genotype by retraining seed, as fractions.

        Raises:
            BenchError: The metric is not a column of the table.
        """
        if metric not in METRICS:
            raise BenchError(f"`metric` must be one of {', '.join(METRICS)}, but got {metric!r}.")
        found: dict[str, dict[int, float]] = {genotype: {} for genotype in self.genotypes}
        columns = (self.table[name].to_pylist() for name in ("genotype", "retrain_seed", metric))
        for genotype, seed, score in zip(*columns, strict=True):
            found[genotype][seed] = score
        return {genotype: dict(sorted(by_seed.items())) for genotype, by_seed in found.items()}

    def column(self, name: str) -> dict[str, Any]:
        """Return a property of each genotype, such as `parameters`, from any of its rows."""
        return dict(zip(self.table["genotype"].to_pylist(), self.table[name].to_pylist(), strict=True))

    def query_scores(self, genotype: str, seed: int) -> QueryScores:
        """Return the scores of each query, for `msinet.statistics`.

        Raises:
            BenchError: The bench has no such evaluation.
        """
        chosen = pc.and_(pc.equal(self.table["genotype"], genotype), pc.equal(self.table["retrain_seed"], seed))
        rows = self.table.filter(chosen).to_pylist()
        if not rows:
            raise BenchError(f"the bench must have {genotype} with seed {seed} for {self.name}, but it does not.")
        return QueryScores.from_columns(
            {
                "pid": self.queries,
                **{name: np.asarray(rows[0][name]) for name in PER_QUERY if rows[0][name] is not None},
            }
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """A table of evaluations with the facts about it.

    Attributes:
        table: The rows, with the columns of `msinet.bench.layout.SCHEMA`.
        facts: What `msinet.bench.layout.FACTS` describes.
    """

    table: pa.Table
    facts: dict[str, Any]

    @cached_property
    def groups(self) -> list[Group]:
        """Return the groups of comparable rows, the largest one first."""
        kinds = self.table.group_by([*AXES, "domain"]).aggregate([([], "count_all")]).to_pylist()
        kinds.sort(key=lambda kind: (-kind["count_all"], *(kind[axis] for axis in AXES)))
        return [
            Group(
                **{axis: kind[axis] for axis in (*AXES, "domain")},
                table=self.table.filter(_equal(self.table, {axis: kind[axis] for axis in AXES})),
                queries=self.facts["queries"][kind["target"]],
            )
            for kind in kinds
        ]

    def group(
        self,
        target: str | None = None,
        *,
        source: str | None = None,
        recipe: str | None = None,
        space: str | None = None,
    ) -> Group:
        """Return the one group that fits.

        Args:
            target, source, space: Names; None for any.
            recipe: The beginning of a recipe's hash; None for any.

        Raises:
            BenchError: No group fits, or several do. The message lists them.
        """
        wanted = {"target": target, "source": source, "space": space}
        found = [
            group
            for group in self.groups
            if all(value in (None, getattr(group, axis)) for axis, value in wanted.items())
            and group.recipe.startswith(recipe or "")
        ]
        if len(found) == 1:
            return found[0]
        asked = ", ".join(f"{axis} {value}" for axis, value in {**wanted, "recipe": recipe}.items() if value)
        listed = "; ".join(
            f"source {group.source}, target {group.target}, recipe {group.recipe[:8]}, space {group.space}"
            for group in found or self.groups
        )
        if found:
            raise BenchError(
                f"the bench has {len(found)} groups of scores{f' with {asked}' if asked else ''}, and one must be "
                f"named (target, source, recipe, space): {listed}."
            )
        raise BenchError(f"the bench must have scores with {asked}, but it has only: {listed}.")


def load(path: str | Path) -> Bench:
    """Read a bench.

    Raises:
        BenchError: The file is missing, no bench, damaged, or of another version of the layout.
    """
    path = Path(path)
    if not path.is_file():
        raise BenchError(f"a bench must be a Parquet file, but there is no file {path}.")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise BenchError(f"a bench must be a Parquet file, but {path} is none ({_first_line(error)}).") from None
    if FACTS not in metadata:
        raise BenchError(f"a bench must be made by `msinet bench build`, but {path} is another Parquet file.")
    try:
        facts = json.loads(metadata[FACTS])
        version = facts["version"]
        if version == VERSION:
            table = pq.read_table(path, schema=SCHEMA, partitioning=None)
            _require_queries(table, facts["queries"])
            return Bench(table, facts)
    except (ValueError, KeyError, TypeError, pa.ArrowException, OSError) as error:
        raise BenchError(f"{path} must be a whole bench, but it is damaged ({_first_line(error)}).") from None
    raise BenchError(
        f"{path} must be a bench of version {VERSION}, but it has version {version}: use the msinet that made it "
        f"({facts.get('code', 'unknown')}), or build it again."
    )


def _require_queries(table: pa.Table, queries: dict[str, list[str]]) -> None:
    for name in PER_QUERY:
        lengths = pc.list_value_length(table[name]).to_pylist()
        for target, length in zip(table["target"].to_pylist(), lengths, strict=True):
            if length not in (None, len(queries[target])):
                raise ValueError(f"{target} has {len(queries[target])} queries, but a row holds {length}")


def _equal(table: pa.Table, wanted: dict[str, str]) -> pa.Array:
    mask = None
    for axis, value in wanted.items():
        equal = pc.equal(table[axis], value)
        mask = equal if mask is None else pc.and_(mask, equal)
    return mask


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
