"""Queries and gallery of a target, and random galleries for datasets that state none: one image of each identity."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msinet.data.dataset import RANDOM_GALLERY, DataError
from msinet.data.records import Record, sorted_pids
from msinet.data.streams import generator


def random_galleries(
    pids: Sequence[int | str], *, draws: int = 10, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw one gallery image of each identity, several times; scores are averaged over the draws.

    The gallery has as many images as there are identities. If an identity has one image only, this image is in every
    gallery and never a query. Draw n does not depend on the number of draws.

    Args:
        pids: Identity of each test image, in a fixed order (by path).
        draws: Number of draws; ten is the protocol of VehicleID.
        seed: Seed of the draws.

    Returns:
        For each draw (query_indices, gallery_indices), which are positions in `pids`, both in rising order.

    Raises:
        DataError: No identity has two images, so that there would be no query.
        ValueError: `draws` is below 1, or `seed` is negative.
    """
    if draws < 1:
        raise ValueError(f"`draws` must be at least 1, but got {draws}.")
    images: dict[int | str, list[int]] = defaultdict(list)
    for index, pid in enumerate(pids):
        images[pid].append(index)
    if len(images) == len(pids):
        raise DataError(
            f"a gallery drawn at random needs an identity with at least two images, but {len(pids):,} test images "
            f"show {len(images):,} identities."
        )
    ordered = [images[pid] for pid in sorted_pids(images)]
    return [_draw(ordered, len(pids), seed, draw) for draw in range(draws)]


def _draw(
    ordered: list[list[int]], num_images: int, seed: int, draw: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    chosen = generator(seed, "gallery", epoch=draw).integers([len(indices) for indices in ordered])
    in_gallery = np.zeros(num_images, dtype=bool)
    in_gallery[[indices[i] for indices, i in zip(ordered, chosen, strict=True)]] = True
    return np.flatnonzero(~in_gallery), np.flatnonzero(in_gallery)


def sides(records: Sequence[Record], protocol: str) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the positions of queries and gallery among test images: one pair, or one for each draw of the gallery."""
    if protocol == RANDOM_GALLERY:
        return random_galleries([record.pid for record in records])
    is_query = np.array([record.subset == "query" for record in records])
    return [(np.flatnonzero(is_query), np.flatnonzero(~is_query))]
