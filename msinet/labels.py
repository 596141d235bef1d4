"""Identities and cameras of any integers or strings, as integers that both sides of a retrieval share."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from msinet.distances import Array

Labels = Sequence[Any] | Array | Tensor


class LabelCodes(NamedTuple):
    """Identities and cameras as integers, numbered alike on both sides. Camera −1 stands for no removal."""

    query_pid_Q: Array
    gallery_pid_G: Array
    query_cam_Q: Array
    gallery_cam_G: Array

    def of(self, rows: slice) -> "LabelCodes":
        """Return the codes of a block of queries, with the whole gallery."""
        return self._replace(query_pid_Q=self.query_pid_Q[rows], query_cam_Q=self.query_cam_Q[rows])


def label_codes(
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any,
    gallery_camids: Any,
    num_queries: int,
    num_gallery: int,
    remove_same_camera: bool,
) -> LabelCodes:
    """Return the codes of both sides. Without cameras, or if none are removed, all cameras are −1.

    Args:
        query_pids, gallery_pids: Identities, integers or strings.
        query_camids, gallery_camids: Cameras, integers or strings; None for an image without a camera.
        num_queries, num_gallery: How many entries each side must have.
        remove_same_camera: Whether images of a query's own identity and camera are removed from its gallery.

    Raises:
        ValueError: A side has another number of entries or another type, or only one side has cameras.
    """
    sizes = (num_queries, num_gallery)
    if remove_same_camera and (query_camids is None) != (gallery_camids is None):
        given = "gallery_camids" if query_camids is None else "query_camids"
        raise ValueError(
            f"`query_camids` and `gallery_camids` must be given together, but got only `{given}`: give both, or set "
            "`remove_same_camera=False`."
        )
    if query_camids is None or not remove_same_camera:
        query_camids, gallery_camids = [None] * num_queries, [None] * num_gallery
    return LabelCodes(
        *_shared_codes("pids", query_pids, gallery_pids, sizes, optional=False),
        *_shared_codes("camids", query_camids, gallery_camids, sizes, optional=True),
    )


def _shared_codes(name: str, query: Any, gallery: Any, sizes: tuple[int, int], *, optional: bool) -> list[Array]:
    """Map equal values of both sides to equal integers, counted from 0, and None to −1."""
    sides = [list(side.tolist() if isinstance(side, Tensor | Array) else side) for side in (query, gallery)]
    if (len(sides[0]), len(sides[1])) != sizes:
        raise ValueError(
            f"`{name}` must have one entry per image, {sizes[0]} of queries and {sizes[1]} of the gallery, "
            f"but got {len(sides[0])} and {len(sides[1])}."
        )
    both = sides[0] + sides[1]
    known = [value for value in both if value is not None or not optional]
    if not any(all(isinstance(value, kind) for value in known) for kind in (Integral, str)):
        raise ValueError(
            f"`{name}` must be all integers or all strings on both sides, but got "
            f"{', '.join(sorted({type(value).__name__ for value in known}))}."
        )
    code_of = {value: code for code, value in enumerate(dict.fromkeys(known))}
    codes = np.array([code_of.get(value, -1) for value in both], dtype=np.int64)
    return np.split(codes, [sizes[0]])
