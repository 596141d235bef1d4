"""Ranked lists: the first images of each query's ranked gallery, correct ones framed green, wrong ones red.

Shapes: Q queries, G gallery images, D numbers of an embedding, k images of a list, H×W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from msinet.data.packed import PackedDataset
from msinet.data.pictures import as_rgb, decode
from msinet.distances import Array, ordering_key, unit_embeddings
from msinet.labels import Labels, label_codes
from msinet.metrics import RankingResult
from msinet.visual.sheet import GREY, LABEL_SIZE, MARGIN, PALE, WHITE, Color, beside, framed, scaled, stacked, text

RIGHT: Color = (25, 150, 75)
WRONG: Color = (214, 39, 40)
FRAME, GAP = 4, 6

PictureOf = Callable[[int], Image.Image | None]
"""A function that returns the picture at an index. If there is no picture, it returns None or raises an error."""


@dataclass(frozen=True, slots=True)
class RankedImage:
    """An image of the gallery in a query's list.

    Attributes:
        index: Position of the image in the gallery.
        correct: Whether the image shows the query's identity.
        similarity: The cosine similarity of the two embeddings.
    """

    index: int
    correct: bool
    similarity: float


@dataclass(frozen=True, slots=True)
class RankedList:
    """The images that were found for a query, the most similar first.

    Attributes:
        query: Position of the query among the queries.
        images: At most k images; fewer if the gallery has fewer.
    """

    query: int
    images: tuple[RankedImage, ...]


def top_ranked(
    query_embedding: Tensor | Array,
    gallery_embedding: Tensor | Array,
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels | None,
    gallery_camids: Labels | None,
    queries: Sequence[int],
    k: int = 20,
    *,
    remove_same_camera: bool = True,
) -> list[RankedList]:
    """Return the first `k` images of some queries' ranked galleries, in the order that `evaluate_ranking` scores.

    Ties keep the gallery's order. Images of the query's own identity and camera are left out.

    Args:
        query_embedding, gallery_embedding: Embeddings of shapes (Q, D) and (G, D); they are L2-normalised here.
        query_pids, gallery_pids, query_camids, gallery_camids, remove_same_camera: See `evaluate_ranking`.
        queries: Positions of the queries whose lists are returned.
        k: Number of images in a list.

    Raises:
        ValueError: `evaluate_ranking` does not accept the arguments, `k` is below 1, or a query is not one of the Q.
    """
    query_QD, gallery_GD = unit_embeddings(query_embedding, gallery_embedding)
    Q, G = len(query_QD), len(gallery_GD)
    if k < 1:
        raise ValueError(f"`k` must be at least 1, but got {k}.")
    if unknown := [query for query in queries if not 0 <= query < Q]:
        raise ValueError(f"`queries` must be positions 0 to {Q - 1}, but got {', '.join(map(str, unknown))}.")
    codes = label_codes(query_pids, gallery_pids, query_camids, gallery_camids, Q, G, remove_same_camera)
    lists = []
    for query in queries:
        similarity_G = (gallery_GD @ query_QD[query]).cpu()
        same_G = codes.gallery_pid_G == codes.query_pid_Q[query]
        camera = codes.query_cam_Q[query]
        kept = np.flatnonzero(~(same_G & (codes.gallery_cam_G == camera)) | (camera < 0))
        key = ordering_key(-similarity_G[kept])
        first = kept[key.topk(min(k, len(kept)), largest=False).indices.numpy()]
        lists.append(RankedList(int(query), tuple(_image(g, same_G, similarity_G) for g in first.tolist())))
    return lists


def _image(index: int, same_G: Array, similarity_G: Tensor) -> RankedImage:
    return RankedImage(index, bool(same_G[index]), float(similarity_G[index]))


def most_different(result_a: RankingResult, result_b: RankingResult, count: int) -> list[int]:
    """Return the queries whose average precision differs most between two models, the largest difference first.

    Equal differences keep the queries' order; queries without a match are left out.

    Raises:
        ValueError: The results have different numbers of queries.
    """
    if result_a.num_queries != result_b.num_queries:
        raise ValueError(
            f"both results must be for the same queries, but got {result_a.num_queries} and {result_b.num_queries}."
        )
    difference_Q = np.abs(result_a.average_precision - result_b.average_precision)
    order = np.argsort(-difference_Q, kind="stable")
    return [int(query) for query in order if np.isfinite(difference_Q[query])][:count]


def pictures_of(packed: PackedDataset, indices: ArrayLike) -> PictureOf:
    """Return a function that decodes the picture at a position of `indices`, such as `packed.subset("query")`."""
    chosen = np.asarray(indices, dtype=np.int64).tolist()

    def picture(position: int) -> Image.Image:
        index = chosen[position]
        return as_rgb(decode(packed.bytes(index), packed.records[index].path))

    return picture


def draw_ranked_lists(
    lists_by_model: Mapping[str, Sequence[RankedList]],
    picture_of_query: PictureOf,
    picture_of_gallery: PictureOf,
    *,
    size_HW: tuple[int, int] = (128, 64),
) -> Image.Image:
    """Draw each query with one row of found images for each model, one below the other.

    Args:
        lists_by_model: The lists of each model by its name, all for the same queries in the same order.
        picture_of_query, picture_of_gallery: Functions that return the picture at a position. A picture that is missing
            or does not decode is drawn as a crossed-out field.
        size_HW: Size of each picture on the sheet, (height, width) in pixels; use a square for vehicles.

    Raises:
        ValueError: There is no list, or the models' queries differ.
    """
    queries_by_model = [[ranked.query for ranked in lists] for lists in lists_by_model.values()]
    if not queries_by_model or not queries_by_model[0]:
        raise ValueError("a sheet of ranked lists must have a model and a query, but got no model or no query.")
    if any(queries != queries_by_model[0] for queries in queries_by_model):
        raise ValueError(f"all models must have lists of the same queries, but got {queries_by_model}.")
    blocks = []
    for position, query in enumerate(queries_by_model[0]):
        picture = scaled(_read(picture_of_query, query), size_HW)
        column = stacked([text(""), _tile(picture, GREY, f"query {query}")])
        rows = [
            stacked([text(name), _row(lists[position], picture_of_gallery, size_HW)])
            for name, lists in lists_by_model.items()
        ]
        blocks.append(beside([column, stacked(rows, GAP)], 4 * GAP))
    width = max(block.width for block in blocks)
    ruled = [part for block in blocks for part in (Image.new("RGB", (width, 1), PALE), block)]
    return framed(stacked([_legend(), *ruled], MARGIN), WHITE, MARGIN)


def _row(ranked: RankedList, picture_of_gallery: PictureOf, size_HW: tuple[int, int]) -> Image.Image:
    tiles = []
    for rank, found in enumerate(ranked.images, start=1):
        picture = scaled(_read(picture_of_gallery, found.index), size_HW)
        tiles.append(_tile(picture, RIGHT if found.correct else WRONG, f"{rank}: {found.similarity:.2f}"))
    return beside(tiles, GAP) if tiles else text("nothing is left in the gallery", LABEL_SIZE, GREY)


def _tile(picture: Image.Image, color: Color, label: str) -> Image.Image:
    return stacked([framed(picture, color, FRAME), text(label, LABEL_SIZE, GREY)], 2, centered=True)


def _legend() -> Image.Image:
    parts = [text("under each image, rank: cosine similarity", LABEL_SIZE, GREY)]
    for color, meaning in ((WRONG, "another identity"), (RIGHT, "same identity")):
        swatch = framed(Image.new("RGB", (7, 7), WHITE), color, FRAME)
        parts.insert(0, beside([swatch, text(meaning, LABEL_SIZE)], GAP))
    return beside(parts, 3 * GAP)


def _read(picture_of: PictureOf, index: int) -> Image.Image | None:
    try:
        return picture_of(index)
    except (OSError, LookupError, ValueError):  # a sheet with a gap is better than none
        return None
