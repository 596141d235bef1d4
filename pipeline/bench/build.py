"""Write the evaluations of a workspace into a bench, with its card beside it."""

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import msinet
from msinet.bench import SCHEMA, VERSION, Bench, BenchError, layout, load
from msinet.bench.spread import spread
from msinet.files import json_text, written_whole
from msinet.spaces import as_space
from msinet.statistics import Component
from pipeline.bench.card import card
from pipeline.bench.collect import Collected, Evaluation
from pipeline.errors import RequestError
from pipeline.plan.kinds import KINDS, PER_QUERY
from pipeline.plan.stage import network_options
from pipeline.storage.workspace import Workspace

LICENCE = (
    "The table holds scores and no pictures. It is under the licence of msinet (Apache-2.0). A dataset that is read "
    "from a disk has terms of its own."
)


def build(collected: Collected, workspace: Workspace, out: Path, say: Callable[[str], None]) -> Bench:
    """Write a bench and its card, and return the bench as it is read back.

    Args:
        collected: What the bench consists of.
        workspace: Workspace that holds the scores of each query.
        out: The Parquet file. The card has the same name with the ending `.md`.
        say: Called with a line of text before something that takes time.

    Raises:
        RequestError: There is something else than a bench at `out`, or a file with the scores of queries is damaged.
    """
    _require_replaceable(out)
    say(f"reading the queries of {len(collected.evaluations)} evaluations")
    queries: dict[str, list[str]] = {}
    per_query = [_per_query(row, workspace, queries) for row in collected.evaluations]
    say("computing the size of each genotype")
    sizes = _sizes(collected.evaluations)
    rows = [
        {**_row(row), **sizes[_size_key(row)], **found}
        for row, found in zip(collected.evaluations, per_query, strict=True)
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    facts = _facts(collected, queries)
    facts["counts"] = _counts(table, collected)
    facts["variance"] = _variance(Bench(table, facts))
    write(table, facts, out)
    bench = load(out)
    with written_whole(out.with_suffix(".md")) as file:
        file.write(card(bench, out.name).encode())
    return bench


def _require_replaceable(out: Path) -> None:
    """Make sure that writing a bench to `out` destroys nothing else."""
    if out.suffix != ".parquet":
        raise RequestError(f"a bench must be written to a file with the ending .parquet, but got {out} (-o).")
    if out.exists():
        try:
            load(out)
        except BenchError as error:
            raise RequestError(f"a bench may replace only a bench, but {error} Give another name (-o).") from None


def _row(row: Evaluation) -> dict[str, Any]:
    """Return the columns of an evaluation that its results hold."""
    metrics = row.evaluated["metrics"]
    return {
        "space": row.space,
        "genotype": row.genotype,
        "found_by": row.found_by,
        "source": row.source,
        "target": row.target,
        "domain": row.domain,
        "recipe": row.recipe,
        "retrain_seed": row.trained["spec"]["seed"],
        "hours": row.trained["seconds"] / 3600,
        **{name: metrics[name] for name in layout.METRICS},
        "evaluation": row.evaluated["key"],
    }


def _per_query(row: Evaluation, workspace: Workspace, queries: dict[str, list[str]]) -> dict[str, Any]:
    """Return the columns of lists; set the identities of a target's queries, or check that they are always the same."""
    path = workspace.file(row.evaluated, PER_QUERY)
    try:
        found = pq.read_table(path) if path else None
        pids = found["pid"].to_pylist() if found else []
    except (pa.ArrowException, OSError, KeyError) as error:
        raise RequestError(f"{path} must hold the scores of queries, but it is damaged ({error}).") from None
    if found is None or queries.setdefault(row.target, pids) != pids:
        raise RequestError(
            f"all evaluations on {row.target} must have the same queries, but those of evaluation "
            f"{row.evaluated['key']} are missing or others. Name the experiments that belong together."
        )
    names = [name for name in layout.PER_QUERY if name in found.column_names]
    return {name: found[name].to_pylist() for name in names}


def _size_key(row: Evaluation) -> tuple[str, tuple[int, int]]:
    height, width = row.trained["spec"]["image_size"]
    return row.genotype, (height, width)


def _sizes(evaluations: Iterable[Evaluation]) -> dict[tuple[str, tuple[int, int]], dict[str, float]]:
    """Return the parameters and multiply-accumulates of each genotype, at each picture size."""
    import torch

    from msinet.engine.measure import size
    from msinet.models import build_model

    found: dict[tuple[str, tuple[int, int]], dict[str, float]] = {}
    for row in evaluations:
        key = _size_key(row)
        if key not in found:
            spec = row.trained["spec"]
            model = build_model(spec["network"], num_classes=0, **network_options(spec)).eval()
            found[key] = size(model, torch.zeros(1, 3, *key[1]))
    return found


def _facts(collected: Collected, queries: dict[str, list[str]]) -> dict[str, Any]:
    rows = collected.evaluations
    started = [row.trained["started"] for row in rows]
    described = ("fingerprint", "train_fingerprint", "protocol", "identities", "images")
    return {
        "version": VERSION,
        "code": msinet.__version__,
        "stages": {kind: KINDS[kind].schema for kind in ("prepare", "search", "retrain", "evaluate")},
        "results": {"oldest": _date(min(started)), "newest": _date(max(started))},
        "licence": LICENCE,
        "datasets": {
            name: {"settings": result["spec"]["dataset"], **{key: result[key] for key in described if key in result}}
            for name, result in sorted(collected.datasets.items())
        },
        "recipes": {row.recipe: row.settings for row in rows},
        "searches": collected.searches,
        "spaces": _spaces(rows),
        "queries": queries,
    }


def _spaces(rows: Iterable[Evaluation]) -> dict[str, dict[str, Any]]:
    """Return the settings of each space by its name."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        space = as_space(row.trained["spec"].get("space")).to_document()
        if found.setdefault(row.space, space) != space:
            raise RequestError(
                f"each space of a bench must have its own name, but two different ones are called {row.space}: name "
                "the experiments that belong together."
            )
    return found


def _counts(table: pa.Table, collected: Collected) -> dict[str, Any]:
    trainings = {(row.trained["key"]): row.trained["seconds"] for row in collected.evaluations}
    return {
        "evaluations": table.num_rows,
        "trainings": len(trainings),
        "genotypes": len(set(zip(table["space"].to_pylist(), table["genotype"].to_pylist(), strict=True))),
        "training_hours": sum(trainings.values()) / 3600,
        "left_out": collected.left_out,
    }


def _variance(bench: Bench) -> list[dict[str, Any]]:
    """Return for each group and metric how much of the variance is whose, with intervals."""
    return [
        {
            "source": group.source,
            "target": group.target,
            "recipe": group.recipe,
            "space": group.space,
            "metric": metric,
            **{part.name.replace(" ", "_"): _part(part) for part in spread(group, metric)},
        }
        for group in bench.groups
        for metric in ("mAP", "rank1")
    ]


def _part(part: Component) -> dict[str, Any] | None:
    """Return a component as JSON; a variance is in fractions squared."""
    if part.variance is None or part.share is None:
        return None
    return {name: [i.estimate, i.low, i.high] for name, i in (("variance", part.variance), ("share", part.share))}


def write(table: pa.Table, facts: dict[str, Any], out: Path) -> None:
    """Write the file as small as Parquet can.

    Average precisions have many different values, whose bytes compress best when they are sorted by their significance
    (byte stream split). All other columns have few different values, so dictionaries suit them.
    """
    split = "average_precision.list.element"
    tagged = table.replace_schema_metadata(
        {layout.FACTS: json_text(facts, sort_keys=True, ensure_ascii=False).encode()}
    )
    with written_whole(out) as file:
        pq.write_table(
            tagged,
            file,
            compression="zstd",
            compression_level=19,
            use_dictionary=[path for path in _leaves(table.schema) if path != split],
            column_encoding={split: "BYTE_STREAM_SPLIT"},
            store_schema=True,
        )


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of the columns as Parquet names them."""
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema]


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
