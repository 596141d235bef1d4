"""State dicts from files, and their differences from the state dict of a network."""

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

StateDict = Mapping[str, Tensor]

# Checkpoints often contain a score, which is a numpy number. These names allow numpy numbers and nothing else.
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
_NAMED_AT_MOST = 4


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a checkpoint's tensors onto the CPU, without unpickling anything else.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote.

    Returns:
        The state dict, as `plain_state_dict` returns it.

    Raises:
        ValueError: The file holds objects other than tensors, containers and numbers, or cannot be read.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            return plain_state_dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path} must be a safetensors file, but it cannot be read: {error}.") from error
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            document = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} must hold nothing but tensors, containers and numbers, but it is damaged or holds other "
            "objects, which could run code when they are read; convert it to safetensors if you trust it."
        ) from error
    return plain_state_dict(document)


def plain_state_dict(document: Any) -> dict[str, Tensor]:
    """Return the tensors by name, without an enclosing {"state_dict": …} and without "module." before their names.

    Raises:
        ValueError: `document` is not a mapping from names to tensors.
    """
    if isinstance(document, Mapping) and isinstance(document.get("state_dict"), Mapping):
        document = document["state_dict"]
    if not isinstance(document, Mapping) or not all(isinstance(value, Tensor) for value in document.values()):
        raise ValueError(
            "a checkpoint must map names to tensors, possibly under the key state_dict, but got "
            f"{type(document).__name__}."
        )
    return {key.removeprefix("module."): value for key, value in document.items()}


@dataclass(frozen=True)
class Misfit:
    """The differences between a state dict and the one that a network expects; false if there are none."""

    missing: Sequence[str]
    unexpected: Sequence[str]
    wrong_shape: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.wrong_shape)

    def __str__(self) -> str:
        named = {"missing": self.missing, "unexpected": self.unexpected, "wrong shape": self.wrong_shape}
        return "; ".join(f"{what} {_shortened(keys)}" for what, keys in named.items() if keys)


def compare(state_dict: StateDict, expected: StateDict) -> Misfit:
    """Return which tensors of `expected` are missing in `state_dict`, or are unexpected or of another shape there.

    A missing `num_batches_tracked` is not a difference: old checkpoints have none, and no result depends on it.
    """
    return Misfit(
        missing=[key for key in expected if key not in state_dict and not key.endswith("num_batches_tracked")],
        unexpected=[key for key in state_dict if key not in expected],
        wrong_shape=[
            f"{key} {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
            for key, value in state_dict.items()
            if key in expected and value.shape != expected[key].shape
        ],
    )


def _shortened(keys: Sequence[str]) -> str:
    rest = len(keys) - _NAMED_AT_MOST
    return ", ".join(keys[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
