"""MSINet: twins contrastive search of multi-scale interaction for object re-identification (CVPR 2023).

This package holds the method in plain PyTorch; the package `pipeline` runs it on a cluster.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msinet.genotype import PUBLISHED, Genotype

if TYPE_CHECKING:
    from msinet.export import load
    from msinet.models import build_model

__version__ = "0.1.0"
__all__ = ["PUBLISHED", "Genotype", "build_model", "load"]
_HOME = {"build_model": "msinet.models", "load": "msinet.export"}


def __getattr__(name: str) -> Any:
    # Importing torch takes a second, so it is imported only when a model is built or opened.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'msinet' has no attribute {name!r}")
