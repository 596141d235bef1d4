"""Copies of published datasets: other endings, folders one level off, files that are not there."""

import os
from pathlib import Path

import pytest
from support.pictures import write_tree

from msinet.data import DataError
from msinet.data.check import check
from msinet.data.readers import read

MARKET = [
    "bounding_box_train/0002_c1s1_000451_03",
    "query/0001_c1s1_001051_00",
    "bounding_box_test/0001_c2s1_000301_00",
]
VERI = ["image_train/0001_c001_00016450_0", "image_query/0002_c002_00030600_0", "image_test/0002_c011_00030605_1"]
MSMT17 = {
    "train": "0000/0000_000_01_0303morning_0015_0",
    "val": "0000/0000_031_07_0113afternoon_0404_2",
    "query": "0000/0000_002_03_0114noon_0001_0",
    "gallery": "0000/0000_009_04_0114noon_0007_0",
}


def write_msmt17(folder: Path, ending: str) -> None:
    for name, picture in MSMT17.items():
        write_tree(folder, [f"{'train' if name in ('train', 'val') else 'test'}/{picture}{ending}"])
        (folder / f"list_{name}.txt").write_text(f"{picture}{ending} 0\n")


def write_vehicleid(folder: Path, *pictures: str) -> None:
    write_tree(folder, [f"image/{picture}" for picture in pictures])
    (folder / "train_test_split").mkdir()
    (folder / "train_test_split" / "train_list.txt").write_text("0000001 7\n")
    (folder / "train_test_split" / "test_list_2400.txt").write_text("0000002 8\n")


@pytest.mark.parametrize("ending", [".png", ".jpeg", ".PNG", ".Jpeg", ".JPG"])
@pytest.mark.parametrize(("kind", "pictures"), [("market1501", MARKET), ("veri", VERI)])
def test_names_decide_and_their_endings_do_not(kind: str, pictures: list[str], ending: str, tmp_path: Path) -> None:
    write_tree(tmp_path, [picture + ending for picture in pictures])
    dataset = read(kind, tmp_path)
    assert [record.path for record in dataset.records] == sorted(picture + ending for picture in pictures)
    assert dataset.left_out == {}


@pytest.mark.parametrize("ending", [".png", ".jpeg", ".JPG"])
def test_lists_of_msmt17_may_name_other_endings(ending: str, tmp_path: Path) -> None:
    write_msmt17(tmp_path, ending)
    dataset = read("msmt17", tmp_path)
    assert {record.path.partition("/")[2] for record in dataset.records} == {p + ending for p in MSMT17.values()}
    assert check(dataset).problems == []


def test_lists_of_vehicleid_name_no_ending(tmp_path: Path) -> None:
    write_vehicleid(tmp_path, "0000001.JPG", "0000001.png", "0000002.jpeg")
    dataset = read("vehicleid", tmp_path)
    assert [record.path for record in dataset.records] == ["image/0000001.JPG", "image/0000002.jpeg"]
    assert dataset.left_out == {"in no list that is read": ["image/0000001.png"]}


def test_one_picture_with_two_endings_counts_once(tmp_path: Path) -> None:
    """Masks, for example, have the names of their pictures."""
    write_tree(tmp_path, [picture + ending for picture in MARKET for ending in (".jpg", ".png")])
    dataset = read("market1501", tmp_path)
    assert [record.path for record in dataset.records] == sorted(picture + ".jpg" for picture in MARKET)
    assert dataset.left_out == {"there with another ending too": [p + ".png" for p in sorted(MARKET)]}


def test_pictures_in_other_formats_are_counted(tmp_path: Path) -> None:
    write_tree(tmp_path, [picture + ".webp" for picture in MARKET])
    expected = r"has none; left out: 3 unexpected file name \(such as bounding_box_test/0001_c2s1_000301_00\.webp\)\."
    with pytest.raises(DataError, match=expected):
        read("market1501", tmp_path)


def test_pictures_in_a_folder_for_each_identity_are_counted(tmp_path: Path) -> None:
    moved = [f"{path.parent}/{path.name[:4]}/{path.name}.jpg" for path in map(Path, MARKET)]
    write_tree(tmp_path, moved)
    with pytest.raises(
        DataError, match=r"left out: 3 in a folder of their own \(such as bounding_box_test/0001/0001_c2"
    ):
        read("market1501", tmp_path)
    write_tree(tmp_path, [picture + ".jpg" for picture in MARKET])
    report = check(read("market1501", tmp_path))
    assert report.warnings[-1] == (
        "these pictures were left out: 3 in a folder of their own "
        "(such as bounding_box_test/0001/0001_c2s1_000301_00.jpg)."
    )
    assert "left out: 3 in a folder of their own (such as bounding_box_test/0001/" in report.format()


def test_a_camera_beyond_all_numbers_is_no_name_of_the_layout(tmp_path: Path) -> None:
    write_tree(tmp_path, [picture + ".jpg" for picture in MARKET])
    odd = "query/0001_c9999999999s1_001051_00.jpg"
    write_tree(tmp_path, [odd])
    dataset = read("market1501", tmp_path)
    assert (len(dataset.records), dataset.left_out) == (3, {"unexpected file name": [odd]})


def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write_msmt17(tmp_path, ".jpg")
    (tmp_path / "list_val.txt").unlink()
    os.mkfifo(tmp_path / "list_val.txt")
    with pytest.raises(DataError, match=r"must be a regular file, but .*list_val\.txt is another kind of file"):
        read("msmt17", tmp_path)


def test_a_name_that_would_confuse_a_terminal_is_escaped(tmp_path: Path) -> None:
    write_tree(tmp_path, [picture + ".jpg" for picture in MARKET])
    (tmp_path / "query" / "\x1b[2Jx\n.jpg").write_bytes(b"")
    report = check(read("market1501", tmp_path))
    assert "1 unexpected file name (such as query/\\x1b[2Jx\\n.jpg)" in report.warnings[-1]


def test_a_folder_in_another_case_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path, [picture.replace("query/", "Query/") + ".jpg" for picture in MARKET])
    with pytest.raises(DataError, match=rf"lacks query\); rename {tmp_path}/Query to query\."):
        read("market1501", tmp_path)
    write_vehicleid(tmp_path / "cars", "0000001.jpg", "0000002.jpg")
    lists = tmp_path / "cars" / "train_test_split"
    (lists / "train_list.txt").rename(lists / "Train_List.txt")
    with pytest.raises(DataError, match=rf"rename {lists}/Train_List\.txt to train_list\.txt\."):
        read("vehicleid", tmp_path / "cars")


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, [picture + ".jpg" for picture in MARKET[:2]])
    (tmp_path / "bounding_box_test").write_text("")
    with pytest.raises(DataError, match=r"a folder must be readable, but .*bounding_box_test is not: Not a directory"):
        read("market1501", tmp_path)
