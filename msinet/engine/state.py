"""The whole state of a long loop on disk, written atomically and read without running any code from the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from msinet.files import written_whole


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dictionaries of tensors and plain values to `path`, which always holds a whole state or none.

    If writing fails, `path` keeps its earlier content.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    with written_whole(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # The writer of torch hides the error of the file behind one of its own.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name as safetensors, on the CPU; `path` always holds a whole file or none.

    Args:
        path: Where to write.
        tensors: By name.
        metadata: Texts that the file carries, by name.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    # The library's own `save_file` makes files that other users cannot read, and hides the reason of a failure.
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(on_cpu, None if metadata is None else dict(metadata))
    with written_whole(path) as file:
        file.write(data)


def require_finite_tensors(tensors: Mapping[str, Tensor], what: str) -> None:
    """Check that all numbers are finite.

    Args:
        tensors: By name.
        what: What the tensors are, in the plural, for the message.

    Raises:
        ValueError: A number is infinite or not a number.
    """
    wrong = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if wrong:
        raise ValueError(
            f"{what} must be finite numbers, but {len(wrong)} of {len(tensors)} tensors hold others ({wrong[0]}, for "
            "example); a smaller `lr` or a longer warm-up (`warmup_epochs`) may help."
        )


def same_form(first: Any, second: Any) -> bool:
    """Return whether two states have the same keys, and tensors of the same shapes and types.

    The state of an optimiser is not compared, because it is empty before the first step; see `load_optimizer`.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and (
            "param_groups" in first or all(same_form(first[key], second[key]) for key in first)
        )
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and first.dtype == second.dtype
    return type(first) is type(second)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the CPU.

    Raises:
        ValueError: The file is damaged, or holds something other than a dictionary of tensors and plain values. No code
            from the file was run.
        OSError: The file cannot be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except OSError:
        raise
    except Exception as error:  # the readers of torch and zip raise many types of errors for a damaged file
        raise ValueError(
            f"a saved state must be whole and hold a dictionary of tensors and plain values only, but {path} is not."
        ) from error
    return state
