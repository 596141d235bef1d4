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
    """
    with written_whole(path) as file:
        torch.save(state, file)


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


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the CPU.

    Raises:
        ValueError: The file is damaged, or holds something other than tensors and plain values. No code from the file
            was run.
        OSError: The file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the readers of torch and zip raise many types of errors for a damaged file
        raise ValueError(
            f"a saved state must be whole and hold tensors and plain values only, but {path} is not."
        ) from error
    return state
