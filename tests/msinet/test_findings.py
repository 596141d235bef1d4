from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded, jpeg

from msinet.data import Dataset, Record
from msinet.data.check import check

Row = tuple[str, int | str, int | None, str]
TRAINED: list[Row] = [
    ("t0", 1, 1, "train"),
    ("t1", 1, 2, "train"),
]
TESTED: list[Row] = [
    ("q0", 5, 1, "query"),
    ("q1", 6, 1, "query"),
    ("g0", 5, 2, "gallery"),
    ("g1", 6, 2, "gallery"),
]


def written(root: Path, rows: list[Row], contents: dict[str, bytes]) -> Dataset:
    """Write a dataset in which each picture has the given content, or else a content of its own."""
    for seed, (path, *_) in enumerate(rows):
        (root / path).write_bytes(contents.get(path, jpeg(seed)))
    return Dataset("small", root, tuple(Record(*row) for row in sorted(rows)))


def warned(root: Path, rows: list[Row], *copied: str) -> list[str]:
    """Return the warnings of a dataset in which some pictures have the same bytes."""
    return check(written(root, rows, dict.fromkeys(copied, jpeg(99)))).warnings


FOUND = "gallery pictures are copies of a query of the same identity, which any network finds first: "


def test_different_pictures_give_no_warning(tmp_path: Path) -> None:
    assert warned(tmp_path, [*TRAINED, *TESTED]) == []


def test_copies_of_queries_in_the_gallery_are_told(tmp_path: Path) -> None:
    assert warned(tmp_path, [*TRAINED, *TESTED], "q0", "g0") == [f"1 {FOUND}g0."]
    rows = [*TRAINED, *TESTED, ("g2", 5, None, "gallery"), ("g3", 5, 1, "gallery")]
    # g3 has the camera of the query, so it is not in the gallery of this query.
    assert f"2 {FOUND}g0, g2." in warned(tmp_path, rows, "q0", "g0", "g2", "g3")


def test_copies_that_no_query_is_compared_with_are_not_told(tmp_path: Path) -> None:
    rows = [*TRAINED, *TESTED, ("g2", 5, 1, "gallery"), ("q2", 5, 2, "query"), ("g3", 5, 3, "gallery")]
    assert warned(tmp_path, rows, "q0", "g2") == []  # the same camera
    assert warned(tmp_path, rows, "q0", "q2") == []  # two queries
    assert warned(tmp_path, rows, "g0", "g3") == []  # two gallery pictures
    assert warned(tmp_path, rows, "t0", "t1") == []  # two training pictures of one identity


@pytest.mark.parametrize(("camera", "count"), [(None, 2), (1, 0)])
def test_a_drawn_gallery_finds_copies_among_the_queries(tmp_path: Path, camera: int | None, count: int) -> None:
    rows: list[Row] = [(name, 5, camera, "query") for name in ("q0", "q1", "q2")]
    dataset = written(tmp_path, [*TRAINED, *rows], dict.fromkeys(("q0", "q1"), jpeg(99)))
    warnings = check(replace(dataset, protocol="random_gallery")).warnings
    assert warnings == [f"2 {FOUND.replace('gallery', 'query')}q0, q1."][:count]


def test_test_pictures_that_are_trained_on_are_told(tmp_path: Path) -> None:
    warnings = warned(tmp_path, [*TRAINED, *TESTED], "t0", "q0", "g1")
    assert "2 test pictures are copies of training pictures: g1, q0." in warnings


def test_one_picture_of_two_identities_is_told(tmp_path: Path) -> None:
    rows = [*TRAINED, ("t2", 2, 1, "train"), ("t3", 2, 2, "train"), *TESTED]
    text = "2 pictures are copies of a picture of another identity: "
    assert warned(tmp_path, rows, "t0", "t2") == [f"{text}t0, t2."]
    assert warned(tmp_path, rows, "q0", "g1") == [f"{text}g1, q0."]
    # Training and test may number their identities differently, so this is told once, as a leak.
    assert warned(tmp_path, rows, "t0", "q0") == ["1 test pictures are copies of training pictures: q0."]


def test_pictures_that_lose_something_are_told(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 8
    contents = {
        "t0": encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "JPEG", exif=turned),
        "q0": encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 0)), "PNG"),
        "g0": encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 255)), "PNG"),
    }
    report = check(written(tmp_path, [*TRAINED, *TESTED], contents))
    assert report.problems == []
    assert report.warnings == [
        "1 pictures have an EXIF orientation, which is ignored: they are used as they are stored: t0.",
        "1 pictures have transparent pixels, but transparency is ignored: the colours behind it are used: q0.",
    ]
    assert report.modes == {"RGB": 4, "RGBA": 2}


def grey16(darkest: int, brightest: int) -> bytes:
    """Return a picture with 16-bit grey levels between two."""
    return encoded(Image.fromarray(np.linspace(darkest, brightest, 64).astype(np.uint16).reshape(8, 8)), "PNG")


FAINT = (
    "pictures with 16-bit grey levels must have at least 32 levels in their upper 8 bits, because the lower 8 bits are "
    "not used, but {} have fewer (scale them to 0 to 65,535): {}."
)


@pytest.mark.parametrize(("darkest", "brightest"), [(0, 255), (0, 2**12 - 1), (7000, 8000)])
def test_a_camera_with_fewer_bits_than_its_files_is_a_problem(tmp_path: Path, darkest: int, brightest: int) -> None:
    contents = {path: grey16(darkest, brightest - seed) for seed, path in enumerate(("q0", "g0"))}
    report = check(written(tmp_path, [*TRAINED, *TESTED], contents))
    assert report.problems == [FAINT.format(2, "g0, q0")]
    assert report.warnings == []
    assert report.num_grey == 2


def test_one_faint_picture_among_others_is_a_warning(tmp_path: Path) -> None:
    contents = {"q0": grey16(0, 2**16 - 1), "g0": grey16(0, 2**12), "q1": grey16(0, 2**13)}
    report = check(written(tmp_path, [*TRAINED, *TESTED], contents))
    assert report.problems == []
    assert report.warnings == [FAINT.format(1, "g0")]
