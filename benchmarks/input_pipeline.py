"""The time from JPEG files to augmented batches: ours, and Pillow picture by picture in a DataLoader, the peer.

This script contains the peer. It uses Pillow and NumPy, much as torchvision's transforms use Pillow. Ours and the peer
take their decisions from the same table of random numbers, and their batches are compared.
"""

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from harness import Contender, arguments, begin, image_arguments, image_size, print_table, race, require
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore, PackedDataset, write_shards
from msinet.data.pictures import FORMATS
from msinet.data.records import Record
from msinet.data.samplers import IdentityBatches
from msinet.data.transforms import (
    ATTEMPTS,
    COLOURS,
    ERASE,
    ERASING_AREA,
    ERASING_ASPECT,
    ERASING_FILL,
    FLIP,
    LEFT,
    MEAN,
    ORDER,
    ORDERS_63,
    STD,
    TOP,
    random_table,
)
from msinet.recipes import CROSS_DOMAIN, IN_DOMAIN, Augmentation

SEED = 0
NUM_INSTANCES = 4
ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)  # by the numbers of the operations


class Pictures(Dataset[Tensor]):
    """The samples of an epoch in order. Each picture is decoded, resized and augmented separately.

    Args:
        paths: Files of the samples.
        random: A row of the table of random numbers for each sample.
        augmentation: What to do.
        size_HW: Height and width of the results.
    """

    def __init__(
        self, paths: Sequence[Path], random: np.ndarray, augmentation: Augmentation, size_HW: tuple[int, int]
    ) -> None:
        self.paths, self.random, self.augmentation, self.size_HW = paths, random, augmentation, size_HW

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, sample: int) -> Tensor:
        row, augmentation, (height, width) = self.random[sample], self.augmentation, self.size_HW
        with Image.open(self.paths[sample], formats=FORMATS) as file:
            image = file.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        if row[FLIP] < augmentation.flip:
            image = ImageOps.mirror(image)
        pad = augmentation.pad
        top, left = (int(row[column] * (2 * pad + 1)) for column in (TOP, LEFT))
        image = ImageOps.expand(image, pad).crop((left, top, left + width, top + height))
        image = jittered(image, row, augmentation)
        pixels_HWC = np.asarray(image, np.float32) / np.float32(255)
        normalised_HWC = (pixels_HWC - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        return torch.from_numpy(erased(normalised_HWC, row, augmentation).transpose(2, 0, 1).copy())


def jittered(image: Image.Image, row: np.ndarray, augmentation: Augmentation) -> Image.Image:
    """Change brightness, contrast and saturation, in the order that the sample's row gives."""
    strength_3 = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    if not any(strength_3):
        return image
    factor_3 = (1 + np.array(strength_3) * (2 * row[COLOURS] - 1)).astype(np.float32)
    for operation in ORDERS_63[int(row[ORDER] * len(ORDERS_63))].tolist():
        image = ENHANCE[operation](image).enhance(float(factor_3[operation]))
    return image


def erased(pixels_HWC: np.ndarray, row: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Fill the first rectangle of the row that fits into the picture, if the row says so."""
    if row[ERASE] >= augmentation.erasing:
        return pixels_HWC
    height, width, _ = pixels_HWC.shape
    for area, aspect, top, left in row[ATTEMPTS:].reshape(-1, 4):
        area = (ERASING_AREA[0] + (ERASING_AREA[1] - ERASING_AREA[0]) * area) * height * width
        aspect = ERASING_ASPECT[0] + (ERASING_ASPECT[1] - ERASING_ASPECT[0]) * aspect
        h, w = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if h < height and w < width:
            y, x = int(top * (height - h + 1)), int(left * (width - w + 1))
            pixels_HWC[y : y + h, x : x + w] = ERASING_FILL
            break
    return pixels_HWC


def write_pictures(folder: Path, num_images: int, size_HW: tuple[int, int]) -> list[Record]:
    """Write JPEG files of coarse random patterns, `NUM_INSTANCES` for each identity, and return their records."""
    rng = np.random.default_rng(SEED)
    records = []
    folder.mkdir()
    for index in range(num_images):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        name = f"{index:06}.jpg"
        coarse.resize(size_HW[::-1], Image.Resampling.BICUBIC).save(folder / name, quality=90)
        records.append(Record(name, index // NUM_INSTANCES, index % NUM_INSTANCES, "train"))
    return records


def pair(
    args: argparse.Namespace,
    store: ImageStore,
    paths: Sequence[Path],
    augmentation: Augmentation,
    name: str,
    device: torch.device,
) -> list[Contender]:
    """Return an epoch of ours from the store and one of the peer from the files, after comparing their batches."""
    labels = np.arange(len(store)) // NUM_INSTANCES
    sampler = IdentityBatches(labels, args.batch_size // NUM_INSTANCES, NUM_INSTANCES, seed=SEED)
    batches = TrainBatches(store, labels, sampler, augmentation, SEED, device)
    order = sampler.epoch(0)
    samples = [paths[index] for index in order.flatten().tolist()]
    pictures = Pictures(samples, random_table(SEED, 0, "train", order.size), augmentation, store.size_HW)
    loader = DataLoader(
        pictures, args.batch_size, num_workers=args.workers, persistent_workers=True, pin_memory=device.type == "cuda"
    )

    def ours() -> None:
        for _ in batches.epoch(0):
            pass

    def theirs() -> None:
        for images_BCHW in loader:
            images_BCHW.to(device)

    for (own, images_BCHW), _ in zip(zip(batches.epoch(0), loader, strict=True), range(2), strict=False):
        difference = (own.images_BCHW - images_BCHW.to(device)).abs().max().item()
        require(f"a {name} batch", difference, 1e-5)
    return [
        Contender(f"{name} epoch: ours", order.size, ours),
        Contender(f"{name} epoch: picture by picture", order.size, theirs),
    ]


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__)
    image_arguments(parser, batch_size=64)
    parser.add_argument("--images", type=int, default=2048, help="images in an epoch")
    parser.add_argument("--file-size", type=image_size, default="128x64", help="height x width of the files")
    parser.add_argument("--workers", type=int, default=2, help="number of the peer's processes and of our threads")
    args, device = begin(parser, argv)
    if args.images % args.batch_size:
        parser.error(f"`--images` must be a multiple of `--batch-size`, but got {args.images} and {args.batch_size}.")
    torch.set_num_threads(args.workers)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = folder / "files"
        records = write_pictures(files, args.images, args.file_size)
        write_shards(((record, (files / record.path).read_bytes()) for record in records), folder / "shards")
        packed = PackedDataset(folder / "shards")
        caches = (folder / f"cache{number}" for number in itertools.count())

        def store() -> ImageStore:  # each time into an empty folder
            return ImageStore.open(packed, packed.subset("train"), args.image_size, next(caches), "benchmark")

        groups = [[Contender("decode, resize and store: ours, once", args.images, store)]]
        paths = [files / record.path for record in records]
        for name, augmentation in (("in-domain", IN_DOMAIN), ("cross-domain", CROSS_DOMAIN)):
            groups.append(pair(args, store(), paths, augmentation, name, device))
        for group in groups:
            race(group, args, device)
    print_table(*groups)
    return [contender for group in groups for contender in group]


if __name__ == "__main__":
    main()
