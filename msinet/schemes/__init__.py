"""Search schemes: one file for each, found by its class. A new file in this folder is a new scheme.

A scheme says what the supernet computes in each step, which steps are made, and how genotypes are evaluated at the end.
"""

import pkgutil
from importlib import import_module

from msinet.schemes.mixture import SoftmaxMixture
from msinet.schemes.scheme import Cost, Moment, Path, Scheme, one_path

__all__ = ["MIXTURE", "SCHEMES", "Cost", "Moment", "Path", "Scheme", "one_path"]


def _found() -> dict[str, type[Scheme]]:
    for file in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{file.name}")
    classes = {scheme.__module__.rpartition(".")[2]: scheme for scheme in Scheme.__subclasses__()}
    return dict(sorted(classes.items()))


SCHEMES = _found()
"""The class of each scheme, by name."""

MIXTURE = SoftmaxMixture()
"""The scheme of the paper."""
