"""Sources that are made of several datasets: how they are written in a file, and what must hold for them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.errors import suggestion

MOST = 20  # datasets of one source; `pipeline.plan.kinds.PARTS` has a role for each


def gather_combined(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document in which `sources` holds names only, and `combined` the datasets of the combined ones.

    Raises:
        ValueError: A mapping in `sources` is no combined source.
    """
    sources = document.get("sources")
    if not isinstance(sources, list) or not any(isinstance(entry, dict) for entry in sources):
        return document
    names: list[Any] = []
    combined: dict[Any, Any] = dict(document.get("combined") or {})
    for entry in sources:
        if not isinstance(entry, dict):
            names.append(entry)
            continue
        parts = entry.get("of")
        if entry.keys() != {"name", "of"} or not isinstance(parts, list) or not isinstance(entry["name"], str):
            raise ValueError(
                "an entry of `sources` must be the name of a dataset, or {name: NAME, of: [DATASET, DATASET]}, "
                f"but got {entry!r:.200}."
            )
        names.append(entry["name"])
        combined[entry["name"]] = parts
    return {**document, "sources": names, "combined": combined}


def check_combined(combined: Mapping[str, Sequence[str]], sources: Collection[str], datasets: Collection[str]) -> None:
    """Check the sources that are made of several datasets.

    Args:
        combined: The datasets of each, by its name.
        sources: Names of all sources.
        datasets: Names of all datasets.

    Raises:
        ValueError: A name is that of a dataset or no source's, or the datasets are too few, too many, unknown or
            repeated.
    """
    for name, parts in combined.items():
        if name in datasets:
            raise ValueError(f"a combined source must not have the name of a dataset, but got {name!r} (sources).")
        if name not in sources:
            raise ValueError(f"the keys of `combined` must be entries of `sources`, but got {name!r}.")
        if not 2 <= len(parts) <= MOST or len(set(parts)) < len(parts):
            raise ValueError(
                f"a combined source must be made of 2 to {MOST} different datasets, but {name!r} is made of "
                f"{', '.join(parts) or 'none'} (sources)."
            )
        for part in parts:
            if part not in datasets:
                hint = suggestion(part, datasets)
                raise ValueError(f"a combined source must be made of entries of `datasets`, but got {part!r}.{hint}")
