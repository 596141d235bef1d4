"""Checkpoints of the released MSINet implementation, which names parameters differently."""

import os
import re
from collections.abc import Mapping

from torch import Tensor

from msinet.genotype import NUM_SLOTS, Genotype
from msinet.interop.card import require_card
from msinet.interop.state_dicts import StateDict, compare, plain_state_dict, read_state_dict
from msinet.models.msinet import MSINet

ALIGNMENT = "align_module."  # the spatial alignment's parameters, which only training uses

# The released list of cells also counts the two downsamplings.
_CELLS = {0: "cells.0", 1: "cells.1", 3: "cells.2", 4: "cells.3", 6: "cells.4", 7: "cells.5"}
_DOWNSAMPLINGS = {2: "downsamplings.0", 5: "downsamplings.1"}
_IN_CELL = {
    "conv1a": "enter_a",
    "conv1b": "enter_b",
    "conv2a": "first_a.0",
    "conv2b": "first_b",
    "_op2": "first_interaction",
    "conv3a": "second_a.0",
    "conv3b": "second_b",
    "_op3": "second_interaction",
    "conv4a": "leave_a",
    "conv4b": "leave_b",
    "downsample": "shortcut",
}
_OUTSIDE = {
    "conv1": "backbone.stem",
    "fc": "global_head.linear",
    "head": "global_head.neck",
    "classifier": "global_head.classifier",
    "f_conv": "part_conv",
    "f_fc": "part_head.linear",
    "f_head": "part_head.neck",
    "f_classifier": "part_head.classifier",
}


def load_released(path_or_state_dict: str | os.PathLike[str] | StateDict, genotype: Genotype | str) -> MSINet:
    """Return an MSINet in evaluation mode, with the weights of a released checkpoint.

    The checkpoint may be enclosed in {"state_dict": …} and have "module." before each name; the spatial
    alignment's parameters are left out. The number of classes is the checkpoint's, or 0 if it has no classifiers.

    Args:
        path_or_state_dict: A file that `read_state_dict` can read, or the state dict itself.
        genotype: The network's genotype, because a checkpoint does not contain it: a `Genotype`, a published name or
            twelve letters.

    Raises:
        ValueError: The checkpoint does not fit the genotype (the message names what is missing, unexpected or of
            another shape), or `read_state_dict` cannot read the file.
    """
    if isinstance(path_or_state_dict, Mapping):
        released = plain_state_dict(path_or_state_dict)
    else:
        released = read_state_dict(path_or_state_dict)
        require_card(path_or_state_dict, "msinet", {"genotype": str(_genotype(genotype))})
    state_dict = from_released_names(released)
    classifier = released.get("classifier.weight")
    network = MSINet(genotype, num_classes=0 if classifier is None else len(classifier))
    misfit = compare(state_dict, network.state_dict())
    if misfit:
        raise ValueError(
            f"the checkpoint must fit genotype {network.genotype}, but its own slots are "
            f"{visible_letters(state_dict)} (? has no weights): {misfit} (genotype)."
        )
    network.load_state_dict(state_dict, strict=False)  # compared above: only counters may be missing
    return network.eval()


def _genotype(given: Genotype | str) -> Genotype:
    return given if isinstance(given, Genotype) else Genotype.parse(given)


def has_released_names(state_dict: StateDict) -> bool:
    """Return whether `state_dict` is an MSINet's under the released names."""
    return "conv1.conv.weight" in state_dict and "cells.0.conv1a.conv.weight" in state_dict


def from_released_names(released: StateDict) -> dict[str, Tensor]:
    """Return the same tensors under this package's names, without the spatial alignment's; unknown names are kept."""
    return {_own_name(key): value for key, value in released.items() if not key.startswith(ALIGNMENT)}


def visible_letters(state_dict: StateDict) -> str:
    """Return the genotype as far as an MSINet's state dict shows it; ? is an operation without parameters."""
    return "".join(_visible_letter(state_dict, slot) for slot in range(NUM_SLOTS))


def _visible_letter(state_dict: StateDict, slot: int) -> str:
    position = "second" if slot % 2 else "first"
    prefix = f"backbone.cells.{slot // 2}.{position}_interaction."
    of_parameter = {"gamma": "A", "gate.fc1.weight": "G", "project.conv.weight": "C", "conv.weight": "P"}
    return next((letter for name, letter in of_parameter.items() if prefix + name in state_dict), "?")


def _own_name(key: str) -> str:
    cell = re.fullmatch(r"cells\.(\d+)\.(\w+)\.(.+)", key)
    if cell is None:
        first, _, rest = key.partition(".")
        return f"{_OUTSIDE[first]}.{rest}" if first in _OUTSIDE else key
    index, part, rest = int(cell[1]), cell[2], cell[3]
    if index in _DOWNSAMPLINGS:
        return f"backbone.{_DOWNSAMPLINGS[index]}.{part}.{rest}"
    if index not in _CELLS or part not in _IN_CELL:
        return key
    # In this package, a gate's small network is a separate module.
    gate = "gate." if part.startswith("_op") and rest.startswith("fc") else ""
    return f"backbone.{_CELLS[index]}.{_IN_CELL[part]}.{gate}{rest}"
