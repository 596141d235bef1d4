"""State dicts from files, and their differences from the state dict of a network."""

import os
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from msinet.files import require_regular

StateDict = Mapping[str, Tensor]

# Checkpoints often contain a score, which is a numpy number. These names allow numpy numbers and nothing else.
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
_NAMED_AT_MOST = 4
# Keys under which training scripts save a state dict.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = re.compile(r"^((module|_orig_mod)\.)+")


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
    require_regular(path)
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
    """Return the tensors by name, without what encloses them and without the prefixes that wrappers add.

    Checkpoints enclose a state dict under one of `WRAPPERS`, also one in another. `DataParallel` puts `module.` before
    each name, and `torch.compile` puts `_orig_mod.` there.

    Raises:
        ValueError: `document` is not a mapping from names to tensors; the message names the keys that it has.
    """
    inner = document
    while isinstance(inner, Mapping) and (
        key := next((k for k in WRAPPERS if isinstance(inner.get(k), Mapping)), None)
    ):
        inner = inner[key]
    if not isinstance(inner, Mapping) or not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        found = (
            f"the keys {_shortened([str(key) for key in inner])}"
            if isinstance(inner, Mapping)
            else type(inner).__name__
        )
        raise ValueError(
            f"a checkpoint must map names to tensors, possibly under one of the keys {', '.join(WRAPPERS)}, but got "
            f"{found}."
        )
    return {_PREFIXES.sub("", str(key)): value for key, value in inner.items()}


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


def common_prefix(state_dict: StateDict) -> str:
    """Return the part up to a dot that all names begin with, such as `backbone.`; empty if there is none."""
    first = {key.partition(".")[0] for key in state_dict}
    return f"{first.pop()}." if len(first) == 1 else ""


def _shortened(keys: Sequence[str]) -> str:
    rest = len(keys) - _NAMED_AT_MOST
    return ", ".join(keys[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
