"""The result of a search: one operation for each of the network's twelve interaction slots."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

OPERATIONS = ("none", "channel_gate", "cross_attention", "exchange")
LETTERS = "NGAE"  # one letter for each operation, in the order of α's columns
NUM_SLOTS = 12


@dataclass(frozen=True, slots=True, repr=False)
class Genotype:
    """Twelve operations, two for each cell, from the image to the last map.

    Two genotypes are equal when their letters are equal.

    Attributes:
        letters: One letter of `LETTERS` for each slot, as in Table 7 of the paper's supplement.

    Raises:
        ValueError: `letters` is not a string of twelve letters of N, G, A, E.
    """

    letters: str

    def __post_init__(self) -> None:
        letters = self.letters
        if not isinstance(letters, str) or len(letters) != NUM_SLOTS or set(letters) - set(LETTERS):
            raise ValueError(f"a genotype must be {NUM_SLOTS} letters of {', '.join(LETTERS)}, but got {letters!r}.")

    @classmethod
    def from_letters(cls, letters: str) -> "Genotype":
        """Return the genotype of twelve letters, such as "GGEGAGGNGAEA"."""
        return cls(letters)

    @classmethod
    def from_alphas(cls, alphas: Sequence[Sequence[float]] | Any) -> "Genotype":
        """Return the genotype of the operations with the largest α in each slot; ties go to the first operation.

        Args:
            alphas: 12 rows of 4 numbers: nested sequences, a tensor or an array.

        Raises:
            ValueError: `alphas` has another shape, or contains something that is not a number.
        """
        table = alphas.tolist() if hasattr(alphas, "tolist") else alphas
        rows = [[float(alpha) for alpha in row] for row in table]
        if [len(row) for row in rows] != [len(OPERATIONS)] * NUM_SLOTS:
            raise ValueError(
                f"alphas must be {NUM_SLOTS} rows of {len(OPERATIONS)} numbers, "
                f"but got {len(rows)} rows of {sorted({len(row) for row in rows})}."
            )
        if any(math.isnan(alpha) for row in rows for alpha in row):
            raise ValueError("alphas must be numbers, but one of them is NaN.")
        return cls("".join(LETTERS[row.index(max(row))] for row in rows))

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Return the genotype that a user names: a key of `PUBLISHED`, or twelve letters.

        Raises:
            ValueError: `text` is neither of them.
        """
        if text in PUBLISHED:
            return PUBLISHED[text]
        try:
            return cls(text)
        except ValueError:
            raise ValueError(
                f"a genotype must be one of {', '.join(PUBLISHED)}, or {NUM_SLOTS} letters of "
                f"{', '.join(LETTERS)}, but got {text!r} (genotype)."
            ) from None

    @property
    def operations(self) -> tuple[str, ...]:
        """Return the names of the twelve operations, in the order of the slots."""
        return tuple(OPERATIONS[LETTERS.index(letter)] for letter in self.letters)

    def to_json(self) -> str:
        """Return `{"letters": "…"}`, which `from_json` reads."""
        return json.dumps({"letters": self.letters})

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Return the genotype of a text that `to_json` returned.

        Raises:
            ValueError: `text` is not such JSON.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or "letters" not in document:
            raise ValueError(f'a genotype\'s JSON must be {{"letters": "…"}}, but got {text!r}.')
        return cls(document["letters"])

    def __str__(self) -> str:
        return self.letters

    def __repr__(self) -> str:
        return f"Genotype({self.letters!r})"


PUBLISHED = MappingProxyType(
    {
        "MSINet": Genotype("GGEGAGGNGAEA"),  # searched on MSMT17, split 60-80
        "MSINet-VR": Genotype("GGEAGAGAAAEA"),  # searched on VeRi-776
        "MSINet-S": Genotype("EAGAAAGAEAEA"),  # searched with the softmax supervision
    }
)
