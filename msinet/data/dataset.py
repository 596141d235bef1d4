"""A dataset on a disk as a reader found it, and how one of its pictures is decoded."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from msinet.data.records import Record

# How a test is made: the dataset says what is query and what is gallery; or all its test images are queries, and
# one of each identity, drawn at random, is the gallery (`msinet.data.galleries`).
FIXED, RANDOM_GALLERY = PROTOCOLS = ("fixed", "random_gallery")


class DataError(ValueError):
    """Something about the user's data is wrong; the message says what, where, and what to change."""


@dataclass(frozen=True)
class Counts:
    """What a dataset's authors state of one subset; None where they state nothing."""

    identities: int | None = None
    images: int | None = None
    cameras: int | None = None


@dataclass(frozen=True)
class Dataset:
    """The images that a reader found.

    Attributes:
        name: For messages and tables.
        root: The folder that the records' paths start from.
        records: Sorted by path, every path once.
        left_out: How many files were left out, by reason.
        expected: By subset, the counts as commonly stated, or None for a dataset without such counts.
        protocol: One of `PROTOCOLS`.

    Raises:
        ValueError: Another protocol, or a gallery where it is to be drawn at random.
    """

    name: str
    root: Path
    records: tuple[Record, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    expected: Mapping[str, Counts] | None = None
    protocol: str = FIXED

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"a dataset's protocol must be one of {', '.join(PROTOCOLS)}, but got {self.protocol!r}.")
        if self.protocol == RANDOM_GALLERY and any(record.subset == "gallery" for record in self.records):
            raise ValueError(f"all test images must be queries where the gallery is drawn, but {self.name} has others.")


def decode(data: bytes | memoryview, path: str) -> Image.Image:
    """Decode a whole picture, in the mode it is stored in; its EXIF orientation is ignored.

    Raises:
        DataError: It is no picture, or a truncated one; `path` names it.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # Pillow's plugins raise whatever their parsing stumbles over
        raise DataError(f"an image must decode completely, but {path} does not: {error}.") from error
    return image
