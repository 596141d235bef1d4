"""What a result was computed with, apart from its specification: code, libraries and device. No part of a key."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import msinet
from msinet.engine.measure import device_name


@cache
def environment() -> dict[str, str]:
    """Return the versions and the device of this process.

    Returns:
        `code`: hash of the source files of `msinet`, which tells commits apart also where there is no Git; `msinet`,
        `python`, `torch`, `numpy`: versions; `device`: name of the GPU, or of the processor if there is none.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "code": _code(Path(msinet.__file__).parent),
        "msinet": msinet.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "device": device_name(device),
    }


def _code(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
