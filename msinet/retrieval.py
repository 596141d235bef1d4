"""A search for the nearest images in a gallery that is too large for a matrix of distances.

Shapes: Q queries, G gallery images, D numbers of an embedding, K nearest images, B images of a block.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from msinet.blocks import BLOCK
from msinet.compiled import compiled
from msinet.distances import Array, ordering_key, products, unit_embeddings


def nearest(query_embedding: Tensor | Array, gallery_embedding: Tensor | Array, k: int) -> tuple[Array, Array]:
    """Return the `k` gallery images nearest to each query, nearest first: (similarity_QK, index_QK).

    No gallery image is left out because of its identity or camera. The gallery is read in blocks: besides the
    embeddings, this needs some tens of megabytes and a few numbers for each query. The gallery may be a memory-mapped
    array. Blocks are computed on the device of the queries.

    Args:
        query_embedding, gallery_embedding: (Q, D) and (G, D), L2-normalised here.
        k: K. The whole gallery is returned where it has fewer images.

    Returns:
        Cosine similarities, float32, and positions in the gallery, int64. Equal similarities keep the gallery's order.

    Raises:
        ValueError: Shapes do not fit, a number is not finite, or `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1, but got {k}.")
    query_QD, _ = unit_embeddings(query_embedding, _rows(gallery_embedding, 0, 1))
    num_queries, dim = query_QD.shape
    update = _update_on_cpu if query_QD.device.type == "cpu" else _update_on_device
    count = min(k, len(gallery_embedding))
    similarity_QK = torch.full((num_queries, count), -torch.inf, device=query_QD.device)
    index_QK = torch.zeros((num_queries, count), dtype=torch.int64, device=query_QD.device)
    step = max(1, BLOCK // max(num_queries, dim))
    for start in range(0, len(gallery_embedding), step):
        _, block_BD = unit_embeddings(query_QD, _rows(gallery_embedding, start, start + step))
        update(similarity_QK, index_QK, products(query_QD, block_BD), start)
    return similarity_QK.cpu().numpy(), index_QK.cpu().numpy()


def _rows(embedding: Tensor | Array, start: int, end: int) -> Tensor | Array:
    """Return some rows; those of an array are copied, because torch does not accept a view of a read-only file."""
    rows = embedding[start:end]
    return rows if isinstance(rows, Tensor) else np.array(rows)


def _update_on_device(similarity_QK: Tensor, index_QK: Tensor, block_QB: Tensor, start: int) -> None:
    """Insert the images of a block, which begins at `start` of the gallery, into the nearest images so far."""
    both = torch.cat([similarity_QK, block_QB], 1)
    # The nearest so far come first, so that equal similarities keep the gallery's order.
    place_QK = ordering_key(-both).topk(similarity_QK.shape[1], largest=False, sorted=True).indices
    block_B = torch.arange(start, start + block_QB.shape[1], device=block_QB.device)
    index_QK.copy_(torch.cat([index_QK, block_B.expand(len(block_QB), -1)], 1).gather(1, place_QK))
    similarity_QK.copy_(both.gather(1, place_QK))


def _update_on_cpu(similarity_QK: Tensor, index_QK: Tensor, block_QB: Tensor, start: int) -> None:
    """Insert the images of a block as `_update_on_device` does, in as many threads as torch uses."""
    threads = torch.get_num_threads()
    sides = (np.array_split(side.numpy(), threads) for side in (similarity_QK, index_QK, block_QB))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_insert, *sides, itertools.repeat(start)))


@compiled
def _insert(similarity_QK, index_QK, block_QB, start):
    """Insert the images of a block that are nearer than the last of the nearest so far: most need one comparison."""
    num_queries, num_nearest = similarity_QK.shape
    for q in range(num_queries):
        nearest, index = similarity_QK[q], index_QK[q]
        for b in range(block_QB.shape[1]):
            similarity = block_QB[q, b]
            if similarity <= nearest[-1]:
                continue
            place = num_nearest - 1
            while place > 0 and similarity > nearest[place - 1]:
                nearest[place] = nearest[place - 1]
                index[place] = index[place - 1]
                place -= 1
            nearest[place] = similarity
            index[place] = start + b
