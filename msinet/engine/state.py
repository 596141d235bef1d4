"""The whole state of a long loop on disk: written atomically, read without unpickling."""

import os
import uuid
from pathlib import Path
from typing import Any

import torch


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dictionaries of tensors and plain values to `path`, which always holds a whole state or none.

    Where writing fails, what `path` held before stays.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the CPU.

    Raises:
        ValueError: The file is torn, or holds something else than tensors and plain values; nothing of it was run.
        OSError: The file cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of a damaged file, torch's and zip's readers raise whatever they stumble over
        raise ValueError(
            f"a saved state must be whole and hold tensors and plain values only, but {path} is not."
        ) from error
    return state
