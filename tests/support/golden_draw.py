"""Golden figures, and the inputs on which they were computed. Inputs are drawn from tags, so no weights are stored."""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "golden"


def draw(tag: str, shape: Sequence[int]) -> np.ndarray:
    """Draw standard normal float32 numbers, seeded by the CRC-32 of `tag`."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(tag.encode())))
    return generator.standard_normal(tuple(shape)).astype(np.float32)


def fill_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """Draw a network's state dict in float32. The key of a tensor is its tag, and its kind decides its scale."""
    return {key: torch.from_numpy(np.asarray(_fill(key, shape))) for key, shape in shapes.items()}


def load(name: str) -> Any:
    """Read tests/golden/<name>.json."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def _fill(key: str, shape: Sequence[int]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(tuple(shape), np.int64)
    numbers = draw(key, shape)
    if key.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(numbers)
    if key.endswith("running_mean"):
        return np.float32(0.1) * numbers
    if key.endswith("gamma"):
        return np.float32(0.5) + np.float32(0.1) * numbers
    if len(shape) == 1:
        return np.float32(0.1) * numbers + np.float32(key.endswith("weight"))
    return numbers * np.float32(math.sqrt(1 / math.prod(shape[1:])))
