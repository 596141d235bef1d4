"""A search space: which operations the slots offer, and in which skeleton they stand."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from msinet.spaces.operations import LETTER_OF, PAPER_OPERATIONS

NUM_CELLS, NUM_SLOTS = 6, 12  # each cell has two slots
PAPER = "msinet"  # name of the paper's space
SCALES = (3, 5, 7, 9)
WIDTHS = (0.25, 0.5, 1.0)
CHANNELS = (64, 256, 384, 512)  # after the stem and after each pair of cells, at width 1


@dataclass(frozen=True)
class Space:
    """A search space. By default every setting is the paper's (Gu et al., CVPR 2023).

    Attributes:
        name: Name of the space. Genotypes of all spaces except the paper's begin with it.
        operations: For each of the twelve slots the operations that it offers, in the order of `LETTER_OF`.
        scales: How many positions across each branch of a cell sees: 2 to 4 of 3, 5, 7 and 9, in ascending order. Each
            half of a branch has (scale − 1) / 2 light 3×3 blocks in a row (Zhou et al., OSNet, ICCV 2019).
        width: Factor of all numbers of channels: 0.25, 0.5 or 1.
        instance_norm: Cells, counted from 1, whose sum of branches is normalised for each picture alone before the
            input is added, instead of each branch over the batch (Zhou et al., OSNet-AIN, arXiv 1910.06827).

    Raises:
        ValueError: A setting is not possible.
    """

    name: str = PAPER
    operations: tuple[tuple[str, ...], ...] = (PAPER_OPERATIONS,) * NUM_SLOTS
    scales: tuple[int, ...] = (3, 7)
    width: float = 1.0
    instance_norm: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require(_is_name(self.name), "`name` must be at most 50 letters, digits, - and _", self.name)
        object.__setattr__(self, "operations", _operations(self.operations))
        scales = _whole_numbers("scales", self.scales, SCALES, "2 to 4 of 3, 5, 7 and 9 in ascending order")
        _require(len(scales) >= 2, "`scales` must be 2 to 4 of 3, 5, 7 and 9 in ascending order", list(scales))
        object.__setattr__(self, "scales", scales)
        number = isinstance(self.width, int | float) and not isinstance(self.width, bool)
        _require(number and self.width in WIDTHS, "`width` must be 0.25, 0.5 or 1", self.width)
        object.__setattr__(self, "width", float(self.width))
        cells = _whole_numbers(
            "instance_norm", self.instance_norm, range(1, NUM_CELLS + 1), f"cells from 1 to {NUM_CELLS} in this order"
        )
        object.__setattr__(self, "instance_norm", cells)
        settings = (self.operations, self.scales, self.width, self.instance_norm)
        defaults = tuple(field.default for field in fields(self))[1:]
        _require(self.name != PAPER or settings == defaults, "only the paper's space may have its `name`", self.name)

    @classmethod
    def from_document(cls, document: Any) -> "Space":
        """Return the space that a mapping describes, as a YAML file or a file of weights holds it.

        Args:
            document: The attributes of a space. Those that it lacks are the paper's, except `name`. `operations` is a
                list of names for all slots, or a list of twelve such lists.

        Raises:
            ValueError: A setting is unknown or not possible.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(document, Mapping) or not document.get("name"):
            raise ValueError(f"a space must be a mapping of settings with a `name`, but got {document!r:.100}.")
        unknown = [str(setting) for setting in document if setting not in known]
        if unknown:
            raise ValueError(f"a space has the settings {', '.join(known)}, but got {', '.join(unknown):.100}.")
        return cls(**document)

    def to_document(self) -> dict[str, Any]:
        """Return the mapping that `from_document` reads, with every setting, in types that JSON has."""
        uniform = len(set(self.operations)) == 1
        operations = list(self.operations[0]) if uniform else [list(slot) for slot in self.operations]
        scales, cells = list(self.scales), list(self.instance_norm)
        return {**asdict(self), "operations": operations, "scales": scales, "instance_norm": cells}

    @property
    def options(self) -> dict[str, Any]:
        """Return the space as an option of `msinet.build_model` and as a setting of stages: nothing for the paper's."""
        return {} if self == PAPER_SPACE else {"space": self.to_document()}

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the operations that any slot offers, in the order of α's columns."""
        return tuple(operation for operation in LETTER_OF if any(operation in slot for slot in self.operations))

    @property
    def column_letters(self) -> str:
        """Return the letters of `columns`."""
        return "".join(LETTER_OF[operation] for operation in self.columns)

    @property
    def letters(self) -> tuple[str, ...]:
        """Return for each slot the letters of the operations that it offers, as one text."""
        return tuple("".join(LETTER_OF[operation] for operation in slot) for slot in self.operations)

    @property
    def channels(self) -> tuple[int, ...]:
        """Return the number of channels after the stem and after each pair of cells."""
        return tuple(int(channels * self.width) for channels in CHANNELS)

    @property
    def size(self) -> int:
        """Return the number of genotypes in the space."""
        return math.prod(len(slot) for slot in self.operations)


def _require(holds: bool, what: str, got: Any) -> None:
    if not holds:
        raise ValueError(f"{what}, but got {got!r:.100}.")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}", name) is not None


def _operations(given: Any) -> tuple[tuple[str, ...], ...]:
    """Return the operations of each slot in the order of `LETTER_OF`."""
    slots = list(given) if _is_list(given) else []
    if slots and not any(_is_list(slot) for slot in slots):
        slots = [slots] * NUM_SLOTS
    if len(slots) != NUM_SLOTS or not all(_is_list(slot) and len(slot) for slot in slots):
        raise ValueError(
            f"`operations` must be a list of operations for all slots, or {NUM_SLOTS} such lists, each with at least "
            f"one operation, but got {given!r:.100}."
        )
    for slot in slots:
        for operation in slot:
            known = isinstance(operation, str) and operation in LETTER_OF
            _require(known, f"`operations` must be of {', '.join(LETTER_OF)}", operation)
        _require(len(set(slot)) == len(slot), "each slot must offer an operation only once", list(slot))
    return tuple(tuple(operation for operation in LETTER_OF if operation in slot) for slot in slots)


def _whole_numbers(setting: str, given: Any, allowed: Iterable[int], what: str) -> tuple[int, ...]:
    """Return a list of different allowed numbers as a tuple, if it is in ascending order."""
    numbers = list(given) if _is_list(given) else None
    sound = numbers is not None and all(type(number) is int and number in allowed for number in numbers)
    if numbers is None or not sound or numbers != sorted(set(numbers)):
        raise ValueError(f"`{setting}` must be {what}, but got {given!r:.100}.")
    return tuple(numbers)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


PAPER_SPACE = Space()
