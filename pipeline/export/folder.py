"""The verbs `embed` and `search-gallery`: embeddings of a user's own pictures, and the nearest ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from msinet.data.dataset import DataError
from msinet.data.names import printable
from msinet.export import Embedder, load
from msinet.export.embedder import BATCH, batched
from msinet.export.pictures import pictures_below, readable
from msinet.files import written_whole
from msinet.interop.card import NAME
from msinet.retrieval import nearest
from pipeline.errors import RequestError
from pipeline.reports.console import aligned

SHOWN = 10  # unreadable pictures that are named


def embed_folder(folder: Path, model: Path, out: Path, *, trust: bool) -> tuple[str, bool]:
    """Embed all pictures in a folder, and write a Parquet file.

    Its columns are `path`, relative to the folder, and `embedding`, a list of D numbers (float32) of length 1. The card
    of the model is in its metadata.

    Args:
        folder: Folder of pictures; subfolders count.
        model: A file that `msinet.load` opens.
        out: The file to write.
        trust: Whether a `.pt2` file may be opened.

    Returns:
        What was done, for people, and whether all pictures could be read.

    Raises:
        RequestError: The model or the folder is wrong, or no picture can be read.
    """
    embedder = opened(model, trust=trust)
    unreadable: list[DataError] = []
    try:
        paths = pictures_below(folder)
    except DataError as error:
        raise RequestError(f"{error} (FOLDER)") from error
    schema = pa.schema(
        [("path", pa.string()), ("embedding", pa.list_(pa.float32(), embedder.card.dim))],
        embedder.card.to_metadata(),
    )
    count = 0
    with written_whole(out) as file, pq.ParquetWriter(file, schema) as writer:
        for block in batched(readable(paths, embedder.image_size, unreadable), BATCH):
            embedding_BD = embedder.embed_pixels(np.stack([pixels for _, pixels in block]))
            names = [path.relative_to(folder).as_posix() for path, _ in block]
            values = pa.FixedSizeListArray.from_arrays(pa.array(embedding_BD.ravel()), embedder.card.dim)
            writer.write_batch(pa.record_batch([pa.array(names), values], schema=schema))
            count += len(block)
        if not count:
            raise RequestError(f"at least one picture must be readable, but none of {len(paths)} is: {unreadable[0]}")
    told = [f"{count:,} pictures, {embedder.card.dim} numbers each, written to {out}"]
    if unreadable:
        told += [f"{len(unreadable):,} pictures could not be read:", *map(str, unreadable[:SHOWN])]
        told += [f"and {len(unreadable) - SHOWN:,} more"] if len(unreadable) > SHOWN else []
    return "\n".join(told), not unreadable


def search_gallery(
    gallery: Path, pictures: Sequence[Path], model: Path, k: int, threshold: float | None, *, trust: bool
) -> str:
    """Return the nearest pictures of a gallery for each picture, as text.

    Args:
        gallery: A Parquet file that `embed_folder` wrote.
        pictures: Pictures to search for.
        model: The model that embedded the gallery.
        k: Number of pictures to show for each.
        threshold: Largest cosine distance to show; None for all.
        trust: Whether a `.pt2` file may be opened.

    Raises:
        RequestError: A file is missing or damaged, or the gallery was embedded by another model.
    """
    embedder = opened(model, trust=trust)
    names, gallery_GD = _read_gallery(gallery, embedder)
    try:
        query_QD = embedder.embed(pictures)
    except (DataError, ValueError) as error:
        raise RequestError(f"{error} (PICTURE)") from error
    similarity_QK, index_QK = nearest(query_QD, gallery_GD, k)
    parts = []
    for picture, similarity_K, index_K in zip(pictures, similarity_QK, index_QK, strict=True):
        found = [
            (name, 1 - similarity)
            for name, similarity in zip((names[i] for i in index_K), similarity_K, strict=True)
            if threshold is None or 1 - similarity <= threshold
        ]
        rows = [
            ["", "distance", "path"],
            *([str(n), f"{distance:.4f}", name] for n, (name, distance) in enumerate(found, 1)),
        ]
        parts.append(f"{printable(str(picture))}\n{aligned(rows) if found else 'nothing within the threshold'}")
    return "\n\n".join(parts)


def opened(model: Path, *, trust: bool) -> Embedder:
    """Open a model. Raises RequestError if it is missing or damaged."""
    try:
        return load(model, trust=trust)
    except ValueError as error:
        raise RequestError(f"{error} (--model, --trust)") from error


def _read_gallery(path: Path, embedder: Embedder) -> tuple[list[str], Any]:
    try:
        table = pq.read_table(path)
        text = (table.schema.metadata or {})[NAME.encode()].decode()
        names = table.column("path").to_pylist()
        values = table.column("embedding").combine_chunks()
        gallery_GD = values.flatten().to_numpy().reshape(len(names), embedder.card.dim)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise RequestError(f"GALLERY must be a file that `msinet embed` wrote, but {path} is not: {error}.") from error
    if text != embedder.card.to_metadata()[NAME]:
        raise RequestError(
            f"{path} must have been embedded by the same model, but it was embedded by another one (--model)."
        )
    return names, gallery_GD
