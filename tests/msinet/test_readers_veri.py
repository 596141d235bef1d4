from pathlib import Path

import pytest
from support.pictures import write_tree

from msinet.data import DataError, Record
from msinet.data.check import check
from msinet.data.readers import read

VERI = [
    "image_train/0001_c001_00016450_0.jpg",
    "image_train/0001_c019_00014200_0.jpg",
    "image_query/0002_c002_00030600_0.jpg",
    "image_test/0002_c002_00030600_0.jpg",
    "image_test/0002_c011_00030605_1.jpg.jpg",
]


@pytest.fixture
def veri(tmp_path: Path) -> Path:
    folder = tmp_path / "VeRi"
    write_tree(folder, VERI)
    write_tree(folder, ["image_test/plate.jpg"])
    (folder / "image_query" / "Thumbs.db").write_bytes(b"")
    (folder / "jk_index.txt").write_text("1 2\n")
    return folder


def test_veri_is_read(veri: Path) -> None:
    dataset = read("veri", veri)
    assert dataset.records == (
        Record("image_query/0002_c002_00030600_0.jpg", 2, 2, "query"),
        Record("image_test/0002_c002_00030600_0.jpg", 2, 2, "gallery"),
        Record("image_test/0002_c011_00030605_1.jpg.jpg", 2, 11, "gallery"),
        Record("image_train/0001_c001_00016450_0.jpg", 1, 1, "train"),
        Record("image_train/0001_c019_00014200_0.jpg", 1, 19, "train"),
    )
    assert dataset.left_out == {
        "unexpected file name": ["image_test/plate.jpg"],
        "not a picture": ["image_query/Thumbs.db"],
    }
    assert dataset.expected is not None
    assert {s: (c.identities, c.images) for s, c in dataset.expected.items()} == {
        "train": (576, 37_746),
        "query": (200, 1_678),
        "gallery": (200, 11_579),
    }
    assert read("veri", veri.parent) == dataset


def test_the_check_finds_veri_sound(veri: Path) -> None:
    report = check(read("veri", veri))
    assert report.problems == []
    assert report.num_double_suffix == 1
    assert "2 (37,746)" in report.format()


def test_veri_at_a_wrong_level_is_told(veri: Path) -> None:
    with pytest.raises(DataError, match=rf"image_query, image_test, image_train .*VeRi-776 lies further up.* {veri}"):
        read("veri", veri / "image_train")
    with pytest.raises(DataError, match=r"set the dataset's path to the folder VeRi itself or to its parent"):
        read("veri", _empty(veri.parent / "elsewhere" / "deep" / "er"))


def test_veri_without_pictures_is_an_error(tmp_path: Path) -> None:
    for name in ("image_train", "image_query", "image_test"):
        _empty(tmp_path / name)
    with pytest.raises(DataError, match=r"images such as 0001_c001_00016450_0\.jpg"):
        read("veri", tmp_path)


def _empty(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
