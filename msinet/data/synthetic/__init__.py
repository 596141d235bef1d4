"""Generated re-identification datasets: a real task on a machine without any data.

An identity has the same colours, textures and shape under all cameras. Cameras differ in direction, surroundings,
light, colour cast, sharpness and noise. Domains differ in all of these, so that a network trained on one domain works
less well on another. The same specification gives the same bytes (for one version of Pillow), in any order of
rendering and in any process.
"""

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msinet.data.records import Record
from msinet.data.synthetic.camera import Camera, develop, occlude, sample_camera, sample_view, surroundings
from msinet.data.synthetic.canvas import Canvas
from msinet.data.synthetic.domains import DOMAINS
from msinet.data.synthetic.person import Person, draw_person, sample_person
from msinet.data.synthetic.vehicle import Vehicle, draw_vehicle, sample_vehicle

__all__ = ["CATEGORIES", "RENDERER_VERSION", "SyntheticSpec", "records", "render", "write"]

# Raise this number when the pixels of any specification change: it is part of the key of everything made from them.
RENDERER_VERSION = 1

MAX_IMAGES, MAX_HEIGHT = 1_000_000, 4096

CATEGORIES: dict[str, tuple[str, ...]] = {category: tuple(domains) for category, domains in DOMAINS.items()}


@dataclass(frozen=True)
class SyntheticSpec:
    """The settings that decide every byte of a generated dataset.

    Attributes:
        category: A key of `CATEGORIES`: "person" (twice as high as wide) or "vehicle" (square).
        domain: One of the category's domains.
        train_ids: Number of training identities; they are numbered from 1.
        test_ids: Number of test identities; they are numbered after the training identities.
        images_per_camera: Number of images of each identity under each camera.
        cameras: Number of cameras; each sees every identity. 0 is replaced by the domain's own number.
        height: Height of the images, in pixels.
        seed: Seed of identities, cameras and images.

    Raises:
        ValueError: The category or the domain is unknown, or a number is out of its range.
    """

    category: str = "person"
    domain: str = "street"
    train_ids: int = 60
    test_ids: int = 40
    images_per_camera: int = 2
    cameras: int = 0
    height: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"`category` must be one of {', '.join(CATEGORIES)}, but got {self.category!r}.")
        domains = CATEGORIES[self.category]
        if self.domain not in domains:
            allowed = ", ".join(domains)
            raise ValueError(f"`domain` of a {self.category} must be one of {allowed}, but got {self.domain!r}.")
        if self.cameras == 0:
            object.__setattr__(self, "cameras", DOMAINS[self.category][self.domain].cameras)
        least = {"train_ids": 1, "test_ids": 1, "images_per_camera": 1, "height": 16, "seed": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"`{name}` must be at least {minimum}, but got {name}={getattr(self, name)}.")
        if self.height > MAX_HEIGHT:
            raise ValueError(f"`height` must be at most {MAX_HEIGHT}, but got height={self.height}.")
        if self.cameras < 2:
            raise ValueError(
                f"`cameras` must be at least 2, because a query needs a match under another camera (or 0 for the "
                f"domain's own number), but got cameras={self.cameras}."
            )
        images = (self.train_ids + self.test_ids) * self.cameras * self.images_per_camera
        if images > MAX_IMAGES:
            raise ValueError(
                f"a generated dataset must have at most {MAX_IMAGES} images, but `train_ids`, `test_ids`, `cameras` "
                f"and `images_per_camera` ask for {images}."
            )

    @property
    def train_images(self) -> int:
        """Return the number of images of the training identities."""
        return self.train_ids * self.cameras * self.images_per_camera

    @property
    def test_images(self) -> int:
        """Return the number of images of the test identities: queries and gallery."""
        return self.test_ids * self.cameras * self.images_per_camera

    @property
    def width(self) -> int:
        """Return the width of the images, in pixels."""
        return self.height // 2 if self.category == "person" else self.height


def render(spec: SyntheticSpec) -> Iterator[tuple[Record, bytes]]:
    """Yield each image's record and JPEG bytes, sorted by `record.path` (such as `train/0007_c2_01.jpg`).

    Queries are the first images of a test identity under cameras 1, 3, … if its number is even, and under cameras
    2, 4, … if its number is odd. All other images of the identity are in the gallery. So every query has a match
    under another camera.
    """

    artist = _Artist(spec)
    for record, index in _numbered_records(spec):
        yield record, artist.image(record, index)


def records(spec: SyntheticSpec) -> list[Record]:
    """Return the records that `render` yields, in the same order, without rendering."""
    return [record for record, _ in _numbered_records(spec)]


def write(spec: SyntheticSpec, folder: str | Path) -> list[Record]:
    """Write the images and `manifest.csv` (path, identity, camera, subset) into a folder; create it if it is missing.

    Returns:
        The records, sorted by path.
    """
    folder = Path(folder)
    records = []
    for record, image in render(spec):
        path = folder / record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        records.append(record)
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["path", "identity", "camera", "subset"])
        rows.writerows([record.path, record.pid, record.camid, record.subset] for record in records)
    return records


def _numbered_records(spec: SyntheticSpec) -> list[tuple[Record, int]]:
    """Return all images sorted by path, each with its number among the images of its identity and camera."""
    pid_digits = max(4, len(str(spec.train_ids + spec.test_ids)))
    camid_digits, index_digits = len(str(spec.cameras)), max(2, len(str(spec.images_per_camera)))
    records = []
    for pid in range(1, spec.train_ids + spec.test_ids + 1):
        for camid in range(1, spec.cameras + 1):
            for index in range(1, spec.images_per_camera + 1):
                subset = _subset(spec, pid, camid, index)
                name = f"{pid:0{pid_digits}}_c{camid:0{camid_digits}}_{index:0{index_digits}}.jpg"
                records.append((Record(f"{subset}/{name}", pid, camid, subset), index))
    return sorted(records, key=lambda item: item[0].path)


def _subset(spec: SyntheticSpec, pid: int, camid: int, index: int) -> str:
    if pid <= spec.train_ids:
        return "train"
    return "query" if index == 1 and (camid - 1) % 2 == pid % 2 else "gallery"


class _Artist:
    """A renderer of a dataset's images, in any order; it keeps the cameras and identities that it has made."""

    def __init__(self, spec: SyntheticSpec) -> None:
        self.spec = spec
        self.domain = DOMAINS[spec.category][spec.domain]
        self.cameras: dict[int, Camera] = {}
        self.identities: dict[int, Person | Vehicle] = {}

    def image(self, record: Record, index: int) -> bytes:
        """Return the bytes of an identity's image under a camera."""
        pid, camid = int(record.pid), record.camid or 0
        camera = self._camera(camid)
        random = _random(self.spec, "image", pid, camid, index)
        view = sample_view(camera, random)
        canvas = Canvas(surroundings(camera, random, self.spec.width, self.spec.height))
        identity = self._identity(pid)
        if isinstance(identity, Person):
            draw_person(canvas, identity, view, random)
        else:
            draw_vehicle(canvas, identity, view, random, self.domain.lamps)
        occlude(canvas, random)
        return develop(canvas.image, camera, random)

    def _camera(self, camid: int) -> Camera:
        if camid not in self.cameras:
            random = _random(self.spec, "camera", camid)
            self.cameras[camid] = sample_camera(self.domain, random, self.spec.width, self.spec.height)
        return self.cameras[camid]

    def _identity(self, pid: int) -> Person | Vehicle:
        if pid not in self.identities:
            sample = sample_person if self.spec.category == "person" else sample_vehicle
            self.identities[pid] = sample(self.domain, _random(self.spec, "identity", pid))
        return self.identities[pid]


def _random(spec: SyntheticSpec, what: str, *numbers: int) -> np.random.Generator:
    """Return a generator that depends only on the arguments. Python's `hash` of a name differs between processes."""
    names = [zlib.crc32(name.encode()) for name in (spec.category, spec.domain, what)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([spec.seed, *names, *numbers])))
