"""Pictures as users have them, made ready for a network exactly as evaluations do it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from msinet.data.dataset import DataError
from msinet.data.names import is_picture
from msinet.data.packed import decode_rgb, resized_rgb
from msinet.data.pictures import read_picture
from msinet.data.transforms import normalise

Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]


def pixels_of(picture: Picture | Any, size_HW: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture's pixels at the size of a network's input, H×W×3.

    Args:
        picture: A path, a picture of Pillow, or an H×W×3 array of RGB levels, uint8.
        size_HW: (height, width) in pixels.

    Raises:
        DataError: The file cannot be read as a picture; the message names it.
        ValueError: The array has another form.
    """
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        return decode_rgb(read_picture(path.parent, path.name), str(path), size_HW)
    if isinstance(picture, Image.Image):
        return resized_rgb(picture, size_HW)
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"a picture must be an H×W×3 array of RGB levels 0 to 255 (uint8), a path or a picture of Pillow, but got "
            f"{array.dtype} with shape {array.shape}. Do not scale or normalise it: `embed` does."
        )
    return resized_rgb(Image.fromarray(array), size_HW)


def network_input(pixels_BHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return normalised pictures, B×3×H×W."""
    return np.ascontiguousarray(normalise(torch.tensor(pixels_BHW3)).numpy())


def readable(
    pictures: Iterable[Picture], size_HW: tuple[int, int], unreadable: list[DataError]
) -> Iterator[tuple[Picture, NDArray[np.uint8]]]:
    """Yield each picture with its pixels. Errors of pictures that cannot be read are added to `unreadable`."""
    for picture in pictures:
        try:
            yield picture, pixels_of(picture, size_HW)
        except DataError as error:
            unreadable.append(error)


def pictures_below(folder: Path) -> Sequence[Path]:
    """Return all pictures in a folder and its subfolders, sorted by path.

    Raises:
        DataError: There is no such folder, or it has no pictures.
    """
    if not folder.is_dir():
        raise DataError(f"the pictures must be in a folder, but {folder} is none.")
    found = sorted(path for path in folder.rglob("*") if is_picture(path.name) and path.is_file())
    if not found:
        raise DataError(f"a folder must hold pictures (.jpg, .jpeg, .png), but {folder} holds none.")
    return found
