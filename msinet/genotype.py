"""The result of a search: one operation for each of the network's twelve interaction slots."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msinet.files import json_text
from msinet.spaces import SHIPPED, load
from msinet.spaces.operations import LETTER_OF, OPERATION_OF, PAPER_OPERATIONS
from msinet.spaces.space import NUM_SLOTS, PAPER, PAPER_SPACE, Space

__all__ = ["LETTERS", "NUM_SLOTS", "OPERATIONS", "PUBLISHED", "Genotype"]

# The paper's operations, and one letter for each, in the order of α's columns.
OPERATIONS = PAPER_OPERATIONS
LETTERS = "".join(LETTER_OF[operation] for operation in OPERATIONS)


@dataclass(frozen=True, slots=True, repr=False)
class Genotype:
    """Twelve operations, two for each cell, from the image to the last map.

    Two genotypes are equal when their letters and their spaces are equal.

    Attributes:
        letters: One letter of `msinet.spaces.operations.LETTER_OF` for each slot, as in Table 7 of the paper's
            supplement.
        space: The space of the genotype; by default the paper's.

    Raises:
        ValueError: `letters` is not a string of twelve letters, or a slot of the space does not offer its letter.
    """

    letters: str
    space: Space = PAPER_SPACE

    def __post_init__(self) -> None:
        letters, offered = self.letters, self.space.letters
        of_space = "" if self.space == PAPER_SPACE else f" of the space {self.space.name}"
        known = self.space.column_letters
        if not isinstance(letters, str) or len(letters) != NUM_SLOTS or set(letters) - set(known):
            raise ValueError(
                f"a genotype{of_space} must be {NUM_SLOTS} letters of {', '.join(known)}, but got {letters!r:.100}."
            )
        for slot, (letter, choices) in enumerate(zip(letters, offered, strict=True), start=1):
            if letter not in choices:
                raise ValueError(
                    f"slot {slot} of a genotype{of_space} must be one of {', '.join(choices)}, but got {letters!r}."
                )

    @classmethod
    def from_letters(cls, letters: str, space: Space = PAPER_SPACE) -> "Genotype":
        """Return the genotype of twelve letters, such as "GGEGAGGNGAEA"."""
        return cls(letters, space)

    @classmethod
    def from_alphas(cls, alphas: Sequence[Sequence[float]] | Any, space: Space = PAPER_SPACE) -> "Genotype":
        """Return the genotype of the operations with the largest α in each slot; ties go to the first operation.

        Args:
            alphas: 12 rows with a number for each of `space.columns`: nested sequences, a tensor or an array. Numbers
                of operations that a slot does not offer have no meaning.
            space: The space.

        Raises:
            ValueError: `alphas` has another shape, or contains something that is not a number.
        """
        table = alphas.tolist() if hasattr(alphas, "tolist") else alphas
        rows = [[float(alpha) for alpha in row] for row in table]
        columns = space.columns
        if [len(row) for row in rows] != [len(columns)] * NUM_SLOTS:
            raise ValueError(
                f"alphas must be {NUM_SLOTS} rows of {len(columns)} numbers, "
                f"but got {len(rows)} rows of {sorted({len(row) for row in rows})}."
            )
        if any(math.isnan(alpha) for row in rows for alpha in row):
            raise ValueError("alphas must be numbers, but one of them is NaN.")
        best = (
            max(offered, key=lambda operation: row[columns.index(operation)])
            for row, offered in zip(rows, space.operations, strict=True)
        )
        return cls("".join(LETTER_OF[operation] for operation in best), space)

    @classmethod
    def draw(cls, rng: random.Random, space: Space = PAPER_SPACE) -> "Genotype":
        """Return a genotype in which each slot is drawn uniformly from the operations that it offers."""
        return cls("".join(rng.choice(choices) for choices in space.letters), space)

    @classmethod
    def parse(cls, text: str, space: Space = PAPER_SPACE) -> "Genotype":
        """Return the genotype that a user names.

        Args:
            text: A key of `PUBLISHED`; twelve letters, which are of `space`; or a space's name, a colon and twelve
                letters.
            space: The space of letters without a name. A name is that of this space, or one of `SHIPPED`.

        Raises:
            ValueError: `text` is none of them.
        """
        if text in PUBLISHED:
            return PUBLISHED[text]
        name, separator, letters = text.rpartition(":")
        if separator and name != space.name:
            if name not in SHIPPED:
                known = ", ".join(dict.fromkeys([space.name, *SHIPPED]))
                raise ValueError(f"a genotype's space must be one of {known}, but got {text!r:.100} (genotype).")
            return cls(letters, load(name))
        try:
            return cls(letters, space)
        except ValueError as error:
            if separator or space != PAPER_SPACE:
                raise
            raise ValueError(
                f"a genotype must be one of {', '.join(PUBLISHED)}, or {NUM_SLOTS} letters of "
                f"{', '.join(LETTERS)}, but got {text!r} (genotype)."
            ) from error

    @property
    def operations(self) -> tuple[str, ...]:
        """Return the names of the twelve operations, in the order of the slots."""
        return tuple(OPERATION_OF[letter] for letter in self.letters)

    @property
    def options(self) -> dict[str, Any]:
        """Return the genotype as options of `msinet.build_model`, in types that JSON has.

        A genotype of the paper's space is its letters alone. Any other one comes with its whole space, so that it does
        not depend on a file of the space.
        """
        return {"genotype": str(self), **self.space.options}

    def to_json(self) -> str:
        """Return `{"letters": "…"}`, in other spaces than the paper's also with `"space"`, which `from_json` reads."""
        return json_text({"letters": self.letters, **self.space.options})

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Return the genotype of a text that `to_json` returned.

        Raises:
            ValueError: `text` is not such JSON.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or "letters" not in document:
            raise ValueError(f'a genotype\'s JSON must be {{"letters": "…"}}, but got {text!r}.')
        space = Space.from_document(document["space"]) if "space" in document else PAPER_SPACE
        return cls(document["letters"], space)

    def __str__(self) -> str:
        return self.letters if self.space.name == PAPER else f"{self.space.name}:{self.letters}"

    def __repr__(self) -> str:
        return f"Genotype({str(self)!r})"


PUBLISHED = MappingProxyType(
    {
        "MSINet": Genotype("GGEGAGGNGAEA"),  # searched on MSMT17, split 60-80
        "MSINet-VR": Genotype("GGEAGAGAAAEA"),  # searched on VeRi-776
        "MSINet-S": Genotype("EAGAAAGAEAEA"),  # searched with the softmax supervision
    }
)
