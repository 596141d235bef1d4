"""Single pictures: their files, their decoding, and what is unusual about them."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from msinet.data.dataset import DataError
from msinet.data.names import hint, is_unicode, printable

# Pillow knows more formats. Some of them are dangerous in files from others: for EPS it starts the program Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
LARGEST = 2**28  # bytes of a picture's file


def read_picture(root: Path, path: str) -> bytes:
    """Return the bytes of a picture's file.

    Args:
        root: Folder of the dataset.
        path: The picture's path in it.

    Raises:
        DataError: It is not a readable, regular file of at most `LARGEST` bytes. The message names `path`.
    """
    status = status_of(root, path)
    if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait for ever, and reading a device could have no end
        raise DataError(f"an image must be a regular file, but {printable(path)} is another kind of file.")
    if status.st_size > LARGEST:
        size = f"{status.st_size:,}"
        raise DataError(f"an image's file must have at most {LARGEST:,} bytes, but {printable(path)} has {size}.")
    with _named_errors(root, path):
        return (root / path).read_bytes()


def status_of(root: Path, path: str) -> os.stat_result:
    """Return the size, times and kind of a picture's file, without reading it.

    Raises:
        DataError: There is no such file, it cannot be reached, or its name is not UTF-8. The message names `path`.
    """
    if not is_unicode(path):  # nothing that stores texts, such as Arrow, takes other names
        name = printable(path)
        raise DataError(f"an image's name must be UTF-8, but {name} is not: rename it (for example with convmv).")
    with _named_errors(root, path):
        return (root / path).stat()


@contextlib.contextmanager
def _named_errors(root: Path, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: the path has a character that no path can have
        reason = getattr(error, "strerror", None) or error
        advice = hint(root, path) if isinstance(error, FileNotFoundError) else ""
        raise DataError(f"an image must be readable, but {printable(path)} is not: {reason}.{advice}") from error


def decode(data: bytes | memoryview, path: str) -> Image.Image:
    """Decode a whole picture in its stored mode; its EXIF orientation is ignored.

    Raises:
        DataError: The data are not a picture of one of the `FORMATS`, or the picture is truncated; the message names
            `path`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
    except UnidentifiedImageError as error:
        raise DataError(
            f"an image must be a file in one of the formats {', '.join(FORMATS)}, but {printable(path)} is damaged or "
            "of another kind: convert it, for example to PNG."
        ) from error
    except Exception as error:  # Pillow's plugins raise many kinds of exceptions
        raise DataError(f"an image must decode completely, but {printable(path)} does not: {error}.") from error
    return image


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded picture to RGB with 8 bits per channel. Transparency and colour profiles are ignored.

    A grey picture with 16 bits keeps the upper 8 of them, as Pillow does for colour pictures with 16 bits.
    """
    if has_16_bit_grey(image):  # `convert` would turn all levels above 255 into white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def has_16_bit_grey(image: Image.Image) -> bool:
    """Return whether a decoded picture has grey levels of 16 bits. Pillow's mode for them depends on its version."""
    return image.mode.startswith("I")


@dataclass(frozen=True, slots=True)
class Kind:
    """What kind of picture was decoded, and what is lost when `as_rgb` converts it.

    Attributes:
        mode: Pillow's mode: `RGB`, `L` for grey-scale, `CMYK`, …
        rotated: Whether its EXIF data say that it must be turned or mirrored.
        transparent: Whether some pixels are not opaque.
        grey_levels: For a grey picture with 16 bits, how many levels lie between its darkest and its brightest pixel
            after the conversion; otherwise None.
    """

    mode: str
    rotated: bool
    transparent: bool
    grey_levels: int | None


def kind_of(image: Image.Image) -> Kind:
    """Return the kind of a decoded picture."""
    grey_levels, transparent = None, False
    if has_16_bit_grey(image):
        grey_levels = int(np.ptp(np.asarray(image) >> 8)) + 1
    elif image.has_transparency_data:
        transparent = image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
    return Kind(image.mode, _is_rotated(image), transparent, grey_levels)


def _is_rotated(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:  # damaged EXIF data do no harm, because they are ignored
        return False
