"""A dataset on disk, as a reader found it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msinet.data.names import printable
from msinet.data.records import Record

# There are two ways to test. Fixed: the dataset states queries and gallery. Random gallery: all test images are
# recorded as queries, and one image of each identity is drawn at random for the gallery (`msinet.data.galleries`).
FIXED, RANDOM_GALLERY = PROTOCOLS = ("fixed", "random_gallery")

# What an experiment does with a dataset: it trains on a source, and tests on a target.
ROLES = SOURCE, TARGET = ("source", "target")

# Reasons to leave out pictures that the user may have wanted.
UNEXPECTED = OWN_NAME, OWN_FOLDER = ("unexpected file name", "in a folder of their own")


class DataError(ValueError):
    """An error in the user's data; the message says what is wrong, where, and what to change."""


@dataclass(frozen=True)
class Counts:
    """Counts of one subset; in the expected counts of a dataset, None stands for a number that is not stated."""

    identities: int | None = None
    images: int | None = None
    cameras: int | None = None


@dataclass(frozen=True)
class Dataset:
    """The images that a reader found.

    Attributes:
        name: Name for messages and tables.
        root: Folder to which the records' paths are relative.
        records: The images, sorted by path; every path occurs once.
        left_out: The files that were left out, by reason.
        expected: The commonly stated counts, by subset; None for a dataset without such counts.
        protocol: One of `PROTOCOLS`.

    Raises:
        ValueError: The protocol is unknown, or there are gallery images although the gallery is drawn at random.
    """

    name: str
    root: Path
    records: tuple[Record, ...]
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    expected: Mapping[str, Counts] | None = None
    protocol: str = FIXED

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"a dataset's protocol must be one of {', '.join(PROTOCOLS)}, but got {self.protocol!r}.")
        if self.protocol == RANDOM_GALLERY and any(record.subset == "gallery" for record in self.records):
            raise ValueError(
                f"all test images must be queries if the gallery is drawn, but {self.name} has gallery images."
            )

    def subsets_of(self, role: str) -> tuple[str, ...]:
        """Return the subsets that are used if the dataset has a role of `ROLES`."""
        if role == SOURCE:
            return ("train",)
        return ("query",) if self.protocol == RANDOM_GALLERY else ("query", "gallery")


def described(left_out: Mapping[str, Sequence[str]]) -> str:
    """Return how many files were left out for each reason, with an example."""
    reasons = sorted(left_out.items())
    return ", ".join(f"{len(files):,} {reason} (such as {printable(files[0])})" for reason, files in reasons)
