"""Write the manifest and the experiments that `init` proposes. Nothing that is there is ever overwritten."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from msinet.data.dataset import DataError, Dataset
from msinet.data.readers import READERS, read
from msinet.data.readers.manifest import FILES
from pipeline.errors import RequestError
from pipeline.own_data.look import LISTED, Look, look, sizes_of
from pipeline.own_data.recipes import Data, Recipe, cores, laptop_recipe, paper_recipe

IN_LINE = 3  # settings of a mapping that are written on one line
END = "...\n"  # what PyYAML writes after a single value
COMMENTS = {
    "datasets": "add further datasets here, for example to test on data of another place",
    "sources": "trained on",
    "targets": "tested on; a target that is no source gives cross-domain scores",
    "image_size": "height and width of the pictures for the networks",
    "splits": "percent of the training identities for the weights and for α; more splits give more searches",
    "genotypes": "the published network, beside those that the searches find",
    "search": "what differs from the paper's search",
    "retrain": "what differs from the paper's retraining",
}


def begin(root: Path, out: Path, name: str | None, pattern: str | None) -> tuple[list[str], list[Path]]:
    """Look at a folder, and write a manifest if it needs one, and experiments.

    Args:
        root: Absolute path of the folder.
        out: Folder for the experiments, which must exist.
        name: Name of the dataset and the experiments; by default that of the folder.
        pattern: See `look`.

    Returns:
        Lines that say what was found and what not, and the experiments that were written, the paper's first.

    Raises:
        RequestError: The folder cannot be used, or a file that would be written exists already.
    """
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._") or "mine"
    files = [out / f"{name}.yaml", out / f"{name}-laptop.yaml"]
    found = look(root, pattern)
    _require_new([*files, *(root / file for file in FILES if found.divided)])
    if found.divided:
        _write(root / FILES[0], manifest_text(found.divided.pictures))
    lines, dataset = list(found.lines), found.dataset or _read_back(found)
    sizes = sizes_of(dataset.root, dataset.records)
    size = sizes.training_size(found.kind)
    lines.append(
        f"Of {sizes.read + len(sizes.broken)} pictures that were opened, the median size is {sizes.median_HW[0]}×"
        f"{sizes.median_HW[1]} (height × width). The networks get {size[0]}×{size[1]} pixels."
    )
    lines += [f"damaged: {reason}" for reason in sizes.broken[:LISTED]]
    if len(sizes.broken) > LISTED:
        lines.append(f"damaged: {len(sizes.broken) - LISTED} more of these")
    data = Data(name, _entry(found, size), size, _train_identities(dataset))
    paper, laptop = paper_recipe(data), laptop_recipe(data)
    written = [_written(files[0], paper, "The paper's recipe", None)]
    if laptop:
        written.append(_written(files[1], laptop, "A recipe for a machine without a GPU", paper))
    else:
        lines.append("No recipe ends within an hour on this machine: even two epochs of small pictures take longer.")
    return lines, written


def manifest_text(pictures: Sequence[Any]) -> str:
    """Return the manifest of pictures with their subsets, as a CSV file's content."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["path", "identity", "camera", "subset"])
    table.writerows([picture.path, picture.identity, picture.camera, subset] for picture, subset in pictures)
    return file.getvalue()


def _require_new(files: Sequence[Path]) -> None:
    for file in files:
        if file.exists() or file.is_symlink():
            raise RequestError(f"`init` never overwrites a file, but {file} exists: move it away, or give --name.")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        advice = ""
        if path.name in FILES:
            folder = path.parent
            advice = (
                " If you may not write there, make a folder with a link to the pictures, and use that: "
                f"mkdir {folder.name} && ln -s {folder} {folder.name}/pictures && msinet init {folder.name}"
            )
        raise RequestError(f"{path} must be writable, but is not: {error.strerror}.{advice}") from None


def _read_back(found: Look) -> Dataset:
    """Return what a written manifest holds."""
    try:
        return read("manifest", found.root)
    except DataError as error:
        raise RequestError(f"{error} The manifest was written; correct it, and give its folder again.") from None


def _train_identities(dataset: Dataset) -> int:
    """Return the number of training identities.

    Raises:
        RequestError: The dataset lacks training or test pictures.
    """
    needed = {subset for role in ("source", "target") for subset in dataset.subsets_of(role)}
    missing = sorted(needed - {record.subset for record in dataset.records})
    if missing:
        raise RequestError(
            f"{dataset.root} must have pictures for {', '.join(sorted(needed))}, but lacks {missing[0]}."
        )
    return len({record.pid for record in dataset.records if record.subset == "train"})


def _entry(found: Look, size: tuple[int, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": found.kind, "path": str(found.root)}
    return entry if READERS[found.kind].image_size else {**entry, "image_size": list(size)}


def _written(path: Path, recipe: Recipe, title: str, paper: Recipe | None) -> Path:
    """Write an experiment with a comment for each setting, and return its path."""
    beside = f" The paper's recipe takes {_hours(paper.hours)}." if paper else ""
    head = [
        f"{title}. docs/experiments.md of msinet explains all settings; one that is not here has the paper's value.",
        f"Estimate: {_hours(recipe.hours)} on {cores()} CPU cores of 2 GHz without a GPU.{beside}",
    ]
    lines = [f"# {line}" for line in head]
    for key, value in recipe.document.items():
        first, *more = _yaml(key, value)
        lines += [f"{first}  # {COMMENTS[key]}" if key in COMMENTS else first, *more]
    _write(path, "\n".join(lines) + "\n")
    return path


def _yaml(key: str, value: Any) -> list[str]:
    """Return the lines of a setting. A mapping of a few settings, or any other value, is on one line."""
    if (isinstance(value, dict) and len(value) > IN_LINE) or key in ("datasets", "retrain"):
        return [f"{key}:", *(f"  {line}" for name, part in value.items() for line in _yaml(name, part))]
    flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return [f"{key}: {flow.removesuffix(END).strip()}"]


def _hours(hours: float) -> str:
    return f"about {hours:,.0f} hours" if hours >= 10 else f"about {max(60 * hours, 1):,.0f} minutes"
