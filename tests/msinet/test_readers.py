import os
import random
from pathlib import Path

import pytest
from support.pictures import write_tree

from msinet.data import DataError, Record
from msinet.data.readers import READERS, read
from msinet.data.records import sorted_pids

MARKET = [
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000301_01.jpg.jpg",
    "bounding_box_train/0007_c3s3_077419_03.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
    "bounding_box_test/0000_c5s1_000051_00.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/-1_c6s1_000401_03.jpg",
]


@pytest.fixture
def market(tmp_path: Path) -> Path:
    folder = tmp_path / "Market-1501-v15.09.15"
    write_tree(folder, MARKET)
    for subset in ("bounding_box_train", "bounding_box_test"):
        (folder / subset / "Thumbs.db").write_bytes(b"not a picture")
    (folder / "query" / "portrait.jpg").write_bytes(b"")
    return folder


def test_market1501_keeps_distractors_and_leaves_junk_out(market: Path) -> None:
    dataset = read("market1501", market)
    assert dataset.records == (
        Record("bounding_box_test/0000_c5s1_000051_00.jpg", 0, 5, "gallery"),
        Record("bounding_box_test/0001_c2s1_000301_00.jpg", 1, 2, "gallery"),
        Record("bounding_box_train/0002_c1s1_000451_03.jpg", 2, 1, "train"),
        Record("bounding_box_train/0002_c2s1_000301_01.jpg.jpg", 2, 2, "train"),
        Record("bounding_box_train/0007_c3s3_077419_03.jpg", 7, 3, "train"),
        Record("query/0001_c1s1_001051_00.jpg", 1, 1, "query"),
    )
    assert dataset.left_out == {
        "junk (identity -1)": ["bounding_box_test/-1_c1s1_000401_03.jpg", "bounding_box_test/-1_c6s1_000401_03.jpg"],
        "not a picture": ["bounding_box_test/Thumbs.db", "bounding_box_train/Thumbs.db"],
        "unexpected file name": ["query/portrait.jpg"],
    }
    assert dataset.expected is not None
    assert [(s, dataset.expected[s].images) for s in ("train", "query", "gallery")] == [
        ("train", 12_936),
        ("query", 3_368),
        ("gallery", 15_913),
    ]


def test_market1501_is_found_from_the_folder_that_holds_it(market: Path) -> None:
    assert read("market1501", str(market.parent)) == read("market1501", market)


@pytest.mark.parametrize("level", ["bounding_box_train", "../.."])
def test_market1501_at_a_wrong_level_says_what_was_looked_for(market: Path, level: str) -> None:
    with pytest.raises(DataError, match=r"bounding_box_test, bounding_box_train, query.*set the dataset\'s path"):
        read("market1501", market / level)


def test_market1501_without_images_is_an_error(tmp_path: Path) -> None:
    for name in ("bounding_box_train", "bounding_box_test", "query"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="must hold images such as"):
        read("market1501", tmp_path)


def test_the_order_of_a_listing_changes_nothing(market: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read("market1501", market)
    listing = os.scandir

    def shuffled(folder: Path) -> list[os.DirEntry[str]]:
        entries = sorted(listing(folder), key=lambda entry: entry.name)
        random.Random(0).shuffle(entries)
        return entries

    monkeypatch.setattr(os, "scandir", shuffled)
    assert read("market1501", market) == expected


def test_an_unknown_kind_suggests_the_nearest(tmp_path: Path) -> None:
    assert {"manifest", "market1501"} <= READERS.keys()
    with pytest.raises(DataError, match="Did you mean 'market1501'"):
        read("market-1501", tmp_path)
    with pytest.raises(DataError, match="must exist"):
        read("manifest", tmp_path / "nowhere")


def test_identities_are_ordered_by_number_where_all_are() -> None:
    assert sorted_pids([10, 9, -1, 9]) == [-1, 9, 10]
    assert sorted_pids(["10", "9", "09"]) == ["09", "9", "10"]
    assert sorted_pids(["10", "9", "bus"]) == ["10", "9", "bus"]
