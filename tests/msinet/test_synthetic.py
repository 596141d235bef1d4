"""Generated datasets: deterministic, well formed, and not solvable by comparing colours only."""

import csv
import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest
from PIL import Image

from msinet.data.records import Record
from msinet.data.synthetic import CATEGORIES, RENDERER_VERSION, SyntheticSpec, render, write

DOMAINS = [(category, domain) for category, domains in CATEGORIES.items() for domain in domains]
STREET = SyntheticSpec("person", "street", train_ids=3, test_ids=4, height=64)


@cache
def rendered(spec: SyntheticSpec) -> list[tuple[Record, bytes]]:
    return list(render(spec))


def decode(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), dtype=np.float64)


def digest(spec: SyntheticSpec) -> str:
    total = hashlib.sha256()
    for record, image in render(spec):
        total.update(repr(record).encode() + image)
    return total.hexdigest()


def normalised(image: bytes) -> np.ndarray:
    """Return a coarse picture, normalised by its mean and deviation in each colour."""
    small = Image.open(io.BytesIO(image)).resize((8, 16), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64)
    return ((pixels - pixels.mean((0, 1))) / pixels.std((0, 1))).ravel()


def test_three_or_more_domains_in_each_category() -> None:
    assert set(CATEGORIES) == {"person", "vehicle"}
    assert all(len(set(domains)) >= 3 for domains in CATEGORIES.values())


@pytest.mark.parametrize(("category", "domain"), DOMAINS)
def test_same_specification_same_bytes_other_seed_other_bytes(category: str, domain: str) -> None:
    spec = SyntheticSpec(category, domain, train_ids=1, test_ids=1, images_per_camera=1, height=32)
    other = SyntheticSpec(category, domain, train_ids=1, test_ids=1, images_per_camera=1, height=32, seed=1)
    assert digest(spec) == digest(spec)
    for (record, image), (other_record, other_image) in zip(render(spec), render(other), strict=True):
        assert record == other_record
        assert image != other_image


def test_no_two_images_are_equal() -> None:
    images = [image for _, image in rendered(STREET)]
    assert len(set(images)) == len(images)


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    spec = SyntheticSpec("vehicle", "night", train_ids=1, test_ids=1, images_per_camera=1, height=32)
    code = f"from test_synthetic import *; print(digest({spec!r}))"
    folder = os.path.dirname(__file__)
    root = os.path.dirname(os.path.dirname(folder))
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([root, folder])}
        output = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        ).stdout
        assert output.strip() == digest(spec)


def test_an_image_does_not_depend_on_what_else_is_rendered() -> None:
    """More test identities, cameras or images do not change the images that exist without them."""
    few = {record.path: image for record, image in rendered(STREET)}
    more_spec = SyntheticSpec("person", "street", train_ids=3, test_ids=5, images_per_camera=3, cameras=5, height=64)
    more = {record.path: image for record, image in rendered(more_spec)}
    assert few.items() <= more.items()


@pytest.mark.parametrize(("category", "width"), [("person", 24), ("vehicle", 48)])
def test_size_and_format(category: str, width: int) -> None:
    spec = SyntheticSpec(category, CATEGORIES[category][0], train_ids=1, test_ids=1, images_per_camera=1, height=48)
    assert spec.width == width
    for _, image in render(spec):
        opened = Image.open(io.BytesIO(image))
        assert (opened.format, opened.mode, opened.size) == ("JPEG", "RGB", (width, 48))


def test_counts_and_order() -> None:
    records = [record for record, _ in rendered(STREET)]
    assert STREET.cameras == 4
    assert [record.path for record in records] == sorted({record.path for record in records})
    # Training: 3 identities × 4 cameras × 2 images. Test: 4 identities × 8 images, of which the first image of each of
    # 2 cameras is a query.
    assert Counter(record.subset for record in records) == {"train": 24, "query": 8, "gallery": 24}
    images_of = Counter((record.pid, record.camid) for record in records)
    assert images_of == {(pid, camid): 2 for pid in range(1, 8) for camid in range(1, 5)}
    assert records[-1] == Record("train/0003_c4_02.jpg", 3, 4, "train")


def test_train_and_test_identities_are_disjoint() -> None:
    records = [record for record, _ in rendered(STREET)]
    train = {record.pid for record in records if record.subset == "train"}
    test = {record.pid for record in records if record.subset != "train"}
    assert train == {1, 2, 3}
    assert test == {4, 5, 6, 7}


@pytest.mark.parametrize("cameras", [2, 3, 5])
@pytest.mark.parametrize("images_per_camera", [1, 2])
def test_every_query_has_a_match_under_another_camera(cameras: int, images_per_camera: int) -> None:
    spec = SyntheticSpec(train_ids=1, test_ids=4, cameras=cameras, images_per_camera=images_per_camera, height=16)
    records = [record for record, _ in render(spec)]
    gallery = [record for record in records if record.subset == "gallery"]
    queries = [record for record in records if record.subset == "query"]
    assert {record.pid for record in queries} == {2, 3, 4, 5}
    for query in queries:
        assert any(record.pid == query.pid and record.camid != query.camid for record in gallery)


@pytest.mark.parametrize("category", CATEGORIES)
def test_identity_persists_across_cameras(category: str) -> None:
    """Colour-normalised pictures of one identity are a little nearer to each other than to those of others."""
    spec = SyntheticSpec(category, CATEGORIES[category][0], train_ids=24, test_ids=1, images_per_camera=1, height=64)
    items = [(record, normalised(image)) for record, image in render(spec) if record.subset == "train"]
    same: list[float] = []
    different: list[float] = []
    for one, first in items:
        for other, second in items:
            if one.camid != other.camid:
                distance = float(np.linalg.norm(first - second))
                (same if one.pid == other.pid else different).append(distance)
    assert np.mean(same) < 0.97 * np.mean(different)
    # The problem must not be so easy that no network is needed: many pictures of other identities are nearer than
    # those of the same identity under another camera.
    assert np.mean(np.array(different) < np.mean(same)) > 0.05


@pytest.mark.parametrize(("category", "domain"), DOMAINS)
def test_a_camera_has_its_own_colours(category: str, domain: str) -> None:
    spec = SyntheticSpec(category, domain, train_ids=10, test_ids=1, images_per_camera=1, height=32)
    means = np.array([decode(image).mean((0, 1)) for record, image in render(spec) if record.subset == "train"])
    camids = np.array([record.camid for record, _ in render(spec) if record.subset == "train"])
    distance = np.linalg.norm(means[:, None] - means[None], axis=2)
    same = camids[:, None] == camids[None]
    assert distance[same & (distance > 0)].mean() < 0.9 * distance[~same].mean()


@pytest.mark.parametrize("category", CATEGORIES)
def test_domains_can_be_told_apart(category: str) -> None:
    """The nearest mean of colours and gradients gives the domain of unseen identities far more often than by chance."""
    features, domains, held_out = [], [], []
    for index, domain in enumerate(CATEGORIES[category]):
        spec = SyntheticSpec(category, domain, train_ids=8, test_ids=8, images_per_camera=1, height=64)
        for record, image in render(spec):
            pixels = decode(image)
            gradients = [np.abs(np.diff(pixels, axis=axis)).mean() for axis in (0, 1)]
            features.append([*pixels.mean((0, 1)), *pixels.std((0, 1)), *gradients])
            domains.append(index)
            held_out.append(record.subset != "train")
    table, labels, test = np.array(features), np.array(domains), np.array(held_out)
    table = (table - table[~test].mean(0)) / table[~test].std(0)
    centres = np.stack([table[~test & (labels == index)].mean(0) for index in range(len(CATEGORIES[category]))])
    named = np.linalg.norm(table[:, None] - centres[None], axis=2).argmin(1)
    assert (named[test] == labels[test]).mean() > 2 / len(CATEGORIES[category])


def test_write(tmp_path) -> None:
    records = write(STREET, tmp_path / "street")
    assert records == [record for record, _ in rendered(STREET)]
    for record, image in rendered(STREET):
        assert (tmp_path / "street" / record.path).read_bytes() == image
    with open(tmp_path / "street" / "manifest.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "identity", "camera", "subset"]
    read = [Record(row["path"], int(row["identity"]), int(row["camera"]), row["subset"]) for row in rows]
    assert read == records


def test_zero_cameras_are_the_domains_own() -> None:
    assert SyntheticSpec("person", "campus").cameras != SyntheticSpec("person", "station").cameras
    assert SyntheticSpec("person", "campus") == SyntheticSpec("person", "campus", cameras=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": "boat"}, "`category` must be one of person, vehicle, but got 'boat'"),
        ({"domain": "night"}, "`domain` of a person must be one of street, station, campus, but got 'night'"),
        ({"category": "vehicle"}, "`domain` of a vehicle must be one of highway, parking, night, but got 'street'"),
        ({"train_ids": 0}, "`train_ids` must be at least 1, but got train_ids=0"),
        ({"test_ids": 0}, "`test_ids` must be at least 1"),
        ({"images_per_camera": 0}, "`images_per_camera` must be at least 1"),
        ({"cameras": 1}, "`cameras` must be at least 2"),
        ({"height": 8}, "`height` must be at least 16"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticSpec(**options)


# The mean red, green and blue of the first image and of all images, as version 1 renders
# SyntheticSpec(category, domain, train_ids=2, test_ids=1, images_per_camera=1, height=64).
# JPEG encoders may differ a little. After a larger change, raise RENDERER_VERSION and renew these numbers.
GOLDEN_VERSION = 1
GOLDEN: dict[str, tuple[list[float], list[float]]] = {
    "street": ([119.31, 117.59, 109.5], [131.42, 121.2, 114.9]),
    "station": ([134.6, 159.74, 132.71], [144.77, 147.01, 130.37]),
    "campus": ([117.96, 164.63, 90.7], [135.8, 148.36, 97.86]),
    "highway": ([105.16, 80.25, 72.97], [109.24, 104.54, 89.58]),
    "parking": ([148.81, 126.23, 115.89], [139.41, 129.1, 126.07]),
    "night": ([30.34, 35.14, 36.18], [52.23, 49.47, 53.87]),
}


@pytest.mark.parametrize(("category", "domain"), DOMAINS)
def test_pixels_changed_only_with_the_version(category: str, domain: str) -> None:
    spec = SyntheticSpec(category, domain, train_ids=2, test_ids=1, images_per_camera=1, height=64)
    means = np.array([decode(image).mean((0, 1)) for _, image in render(spec)])
    first, every = GOLDEN[domain]
    assert RENDERER_VERSION == GOLDEN_VERSION
    np.testing.assert_allclose(means[0], first, atol=0.25)
    np.testing.assert_allclose(means.mean(0), every, atol=0.25)
