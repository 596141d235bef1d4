"""Embeddings of unit length, their products, and the order of distances.

Shapes: Q queries, G gallery images, D numbers of an embedding.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, normalize

Array = np.ndarray


def unit_embeddings(query_embedding: Tensor | Array, gallery_embedding: Tensor | Array) -> tuple[Tensor, Tensor]:
    """Return both sides as L2-normalised float32 tensors, (Q, D) and (G, D), on the device of the queries.

    Raises:
        ValueError: The shapes do not fit, a side is empty, or a number is not finite.
    """
    sides = [torch.as_tensor(embedding).detach() for embedding in (query_embedding, gallery_embedding)]
    shapes = [tuple(side.shape) for side in sides]
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"embeddings must have the shapes (Q, D) and (G, D), but got {shapes[0]} and {shapes[1]}.")
    for name, side in zip(("query", "gallery"), sides, strict=True):
        if not side.isfinite().all():
            raise ValueError(f"embeddings must be finite, but the {name} side holds infinity or nan.")
    query, gallery = (normalize(side.float()) for side in sides)
    return query, gallery.to(query.device)


def products(query_QD: Tensor, gallery_GD: Tensor) -> Tensor:
    """Return query·galleryᵀ, (Q, G)."""
    if query_QD.device.type != "cpu":
        return query_QD @ gallery_GD.T
    # A 1×1 convolution over Q positions gives the same product. On AMD processors the convolution of oneDNN is twice as
    # fast as the matrix product of MKL.
    return conv2d(query_QD[None, None].permute(0, 3, 1, 2), gallery_GD[:, :, None, None])[0, :, 0].T


def ordering_key(distance: Tensor) -> Tensor:
    """Return int64 keys that order each row of float32 by (distance, column); the lower 32 bits are the column."""
    bits = (distance + 0.0).view(torch.int32)  # + 0.0 makes −0 equal to 0
    bits ^= (bits >> 31) & 0x7FFFFFFF  # as integers, the bits of floats have the floats' order, reversed below 0
    return (bits.long() << 32).bitwise_or_(torch.arange(distance.shape[-1], device=distance.device))
