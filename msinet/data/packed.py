"""A dataset as Arrow shards (the original files' bytes), and its decoded pictures as one memory-mapped file.

Legend: N pictures, H×W pixels, B pictures at a time; pixels are uint8 RGB.
"""

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from msinet.data.check import content_hash, fingerprint
from msinet.data.dataset import DataError, Dataset
from msinet.data.names import printable
from msinet.data.pictures import as_rgb, decode, read_picture
from msinet.data.records import Record
from msinet.data.shards import SCHEMA, batches_of, records_in, shards_of
from msinet.files import written_whole

ROWS_PER_BATCH = 256  # rows that are in memory at a time while a shard is written
# Raise this number when the result of `decode_rgb` changes, so that existing stores are built anew.
RESIZE_VERSION = 2


def gather_source(dataset: Dataset) -> Iterator[tuple[Record, bytes]]:
    """Yield the records of `dataset` with the bytes of their files, in the order of the paths.

    Raises:
        DataError: Files are missing (checked before the first file is read) or cannot be read.
    """
    missing = [record.path for record in dataset.records if not os.path.exists(dataset.root / record.path)]
    if missing:
        named = ", ".join(map(printable, missing[:5])) + (" …" if len(missing) > 5 else "")
        raise DataError(f"every image must be there, but {len(missing):,} are missing in {dataset.root}: {named}")
    for record in dataset.records:
        yield record, read_picture(dataset.root, record.path)


def write_shards(items: Iterable[tuple[Record, bytes]], folder: Path, *, rows_per_shard: int = 4096) -> dict[str, Any]:
    """Write `folder`/shard-00000.arrow and so on, and never keep more than `ROWS_PER_BATCH` images in memory.

    Args:
        items: Records with the bytes of their files, sorted by path, every path once.
        folder: Folder of the shards, created if it is missing; it must not contain shards yet.
        rows_per_shard: Number of images in one file.

    Returns:
        `fingerprint` of all images; `train_fingerprint` of the training images alone; the numbers of `images` and
        `identities`, each by subset; the total numbers of `shards` and `bytes`.

    Raises:
        DataError: There are no items, or they are not sorted by path.
        ValueError: `folder` holds shards already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if shards_of(folder):
        raise ValueError(f"shards must be written into a folder without shards, but {folder} holds some.")
    hashed: list[tuple[Record, str]] = []
    num_shards = num_bytes = 0
    items = iter(items)
    while first := list(itertools.islice(items, 1)):
        shard = itertools.chain(first, itertools.islice(items, rows_per_shard - 1))
        with (
            pa.OSFile(str(folder / f"shard-{num_shards:05}.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, SCHEMA) as file,
        ):
            while rows := list(itertools.islice(shard, ROWS_PER_BATCH)):
                for record, data in rows:
                    if hashed and record.path <= hashed[-1][0].path:
                        before = hashed[-1][0].path
                        raise DataError(f"paths must be sorted and distinct, but {record.path} follows {before}.")
                    hashed.append((record, content_hash(data)))
                    num_bytes += len(data)
                file.write_batch(_record_batch(rows))
        num_shards += 1
    if not hashed:
        raise DataError("a dataset must hold at least one image, but got none.")
    records = [record for record, _ in hashed]
    return {
        "fingerprint": fingerprint(hashed),
        "train_fingerprint": fingerprint(item for item in hashed if item[0].subset == "train"),
        "images": dict(sorted(Counter(record.subset for record in records).items())),
        "identities": dict(sorted(Counter(subset for subset, _ in {(r.subset, r.pid) for r in records}).items())),
        "shards": num_shards,
        "bytes": num_bytes,
    }


class PackedDataset:
    """The images in a folder of shards, memory-mapped.

    Attributes:
        folder: Folder of the shards.
        records: The records, sorted by path.

    Raises:
        DataError: The folder contains no shards, or a shard is incomplete.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.records: list[Record] = []
        self._images: list[pa.LargeBinaryArray] = []
        for batch in batches_of(self.folder):
            self.records += records_in(batch)
            self._images.append(batch.column("image"))
        self._ends = np.cumsum([len(images) for images in self._images])

    def __len__(self) -> int:
        return len(self.records)

    def subset(self, name: str) -> NDArray[np.int64]:
        """Return the indices of the images of subset `name` (train, query or gallery), in rising order."""
        return np.flatnonzero([record.subset == name for record in self.records])

    def bytes(self, index: int) -> memoryview:
        """Return the original file of image `index` without a copy."""
        if not 0 <= index < len(self):
            raise IndexError(f"an image's index must be 0 to {len(self) - 1}, but got {index}.")
        batch = int(np.searchsorted(self._ends, index, side="right"))
        images = self._images[batch]
        return memoryview(images[index - int(self._ends[batch]) + len(images)].as_buffer())


def decode_rgb(data: bytes | memoryview, path: str, size_HW: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode and resize a picture: pixels_HW3.

    The fully decoded picture is converted by `as_rgb` and resized with Pillow's bilinear filter; its EXIF orientation
    is ignored.

    Raises:
        DataError: The picture does not decode completely; the message names `path`.
    """
    return resized_rgb(decode(data, path), size_HW)


def resized_rgb(image: Image.Image, size_HW: tuple[int, int]) -> NDArray[np.uint8]:
    """Convert a decoded picture to RGB and resize it, as `decode_rgb` does: pixels_HW3."""
    H, W = size_HW
    return np.asarray(as_rgb(image).resize((W, H), Image.Resampling.BILINEAR))


class ImageStore:
    """Decoded, resized pictures in one memory-mapped file that processes share; made by `ImageStore.open`."""

    def __init__(self, pixels_NHW3: NDArray[np.uint8], positions: NDArray[np.int64] | None = None) -> None:
        self._pixels_NHW3 = pixels_NHW3
        self._positions = np.arange(len(pixels_NHW3)) if positions is None else positions

    @classmethod
    def open(
        cls,
        packed: PackedDataset,
        indices: ArrayLike,
        size_HW: tuple[int, int],
        cache_dir: str | Path,
        key: str,
    ) -> "ImageStore":
        """Open the store of some pictures of `packed`. The first call builds its file, later calls reuse the file.

        The file is written under another name and then renamed. So several processes can build it at the same time,
        and an interrupted build leaves no file that is ever read.

        Args:
            packed: The dataset that contains the pictures.
            indices: Indices of the pictures in `packed`, in the order of the store.
            size_HW: (height, width) in pixels.
            cache_dir: A folder on a local disk, created if it is missing.
            key: Text that identifies the content of `packed`, such as its fingerprint.

        Raises:
            DataError: A picture does not decode completely; the message names it.
            ValueError: `indices` is empty.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if not chosen.size:
            raise ValueError("an image store must hold at least one picture, but `indices` is empty.")
        shape = (len(chosen), *size_HW, 3)
        identity = f"{key}|{size_HW}|{RESIZE_VERSION}|Pillow {PIL.__version__}|".encode() + chosen.tobytes()
        path = Path(cache_dir) / f"pixels-{hashlib.sha256(identity).hexdigest()[:32]}.u8"
        if not (path.is_file() and path.stat().st_size == math.prod(shape)):
            _build(packed, chosen, size_HW, path)
        return cls(np.memmap(path, np.uint8, "r", shape=shape))

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def size_HW(self) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        _, H, W, _ = self._pixels_NHW3.shape
        return H, W

    def subset(self, positions: ArrayLike) -> "ImageStore":
        """Return a store of the pictures at these positions, on the same file."""
        return ImageStore(self._pixels_NHW3, self._positions[np.asarray(positions, dtype=np.int64)])

    def gather(self, indices: ArrayLike | Tensor) -> Tensor:
        """Return a copy of the pictures at these positions of the store: pixels_BHW3."""
        return torch.from_numpy(self._pixels_NHW3[self._positions[np.asarray(indices)]])


def _build(packed: PackedDataset, indices: NDArray[np.int64], size_HW: tuple[int, int], path: Path) -> None:
    def pixels_of(index: int) -> bytes:
        return decode_rgb(packed.bytes(index), packed.records[index].path, size_HW).tobytes()

    with written_whole(path) as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(indices), 256):  # at most so many decoded pictures are in memory
            file.writelines(pool.map(pixels_of, indices[start : start + 256].tolist()))


def _record_batch(rows: Sequence[tuple[Record, bytes]]) -> pa.RecordBatch:
    records = [record for record, _ in rows]
    columns = {
        "path": [record.path for record in records],
        "pid": [str(record.pid) for record in records],
        "pid_is_int": [isinstance(record.pid, int) for record in records],
        "camid": [record.camid for record in records],
        "subset": [record.subset for record in records],
        "image": [data for _, data in rows],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
