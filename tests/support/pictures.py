"""Small pictures and trees of files for the tests of the data code."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from msinet.data.records import Record


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file in a format."""
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def jpeg(seed: int, size_HW: tuple[int, int] = (32, 16), mode: str = "RGB") -> bytes:
    """Return a smooth random picture as the bytes of a JPEG file."""
    H, W = size_HW
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((W, H), Image.Resampling.BICUBIC).convert(mode)
    return encoded(image, "JPEG", quality=90)


def truncated_jpeg(seed: int) -> bytes:
    """Return the bytes of a JPEG file without its second half."""
    data = jpeg(seed, (64, 64))
    return data[: len(data) // 2]


def write_tree(root: Path, files: Iterable[str]) -> None:
    """Write different JPEG files to these paths below `root`."""
    for seed, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(seed))


def items(num_ids: int = 4, per_id: int = 3, subset: str = "train") -> list[tuple[Record, bytes]]:
    """Return records of identities 1, 2, … with their pictures, in the order of paths."""
    return [
        (Record(f"{subset}/{pid:04}_c{n + 1}.jpg", pid, n + 1, subset), jpeg(100 * pid + n))
        for pid in range(1, num_ids + 1)
        for n in range(per_id)
    ]
