from pathlib import Path

import pytest
from support.pictures import write_tree

from msinet.data import DataError, Record
from msinet.data.check import check
from msinet.data.readers import read

FOLDERS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
LISTS = {
    "list_train.txt": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_004_15_0303noon_0020_1_ex.jpg 1"],
    "list_val.txt": ["0000/0000_031_07_0113afternoon_0404_2.jpg 0"],
    "list_query.txt": ["0000/0000_002_03_0114noon_0001_0.jpg 0"],
    "list_gallery.txt": ["0000/0000_009_04_0114noon_0007_0.jpg 0"],
}


def write_msmt17(parent: Path, version: str) -> Path:
    folder, (train, test) = parent / version, FOLDERS[version]
    for name, lines in LISTS.items():
        pictures = train if name in ("list_train.txt", "list_val.txt") else test
        write_tree(folder, [f"{pictures}/{line.split()[0]}" for line in lines])
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("version", "name"), [("MSMT17_V1", "MSMT17 V1"), ("MSMT17_V2", "MSMT17 V2")])
def test_both_versions_are_read_and_told(tmp_path: Path, version: str, name: str) -> None:
    folder = write_msmt17(tmp_path, version)
    train, test = FOLDERS[version]
    dataset = read("msmt17", folder)
    assert (dataset.name, dataset.root, dataset.left_out, dataset.protocol) == (name, folder, {}, "fixed")
    assert set(dataset.records) == {
        Record(f"{train}/0000/0000_000_01_0303morning_0015_0.jpg", 0, 1, "train"),
        Record(f"{train}/0000/0000_031_07_0113afternoon_0404_2.jpg", 0, 7, "train"),
        Record(f"{train}/0001/0001_004_15_0303noon_0020_1_ex.jpg", 1, 15, "train"),
        Record(f"{test}/0000/0000_002_03_0114noon_0001_0.jpg", 10_000, 3, "query"),
        Record(f"{test}/0000/0000_009_04_0114noon_0007_0.jpg", 10_000, 4, "gallery"),
    }
    assert [r.path for r in dataset.records] == sorted(r.path for r in dataset.records)
    assert read("msmt17", tmp_path) == dataset
    assert dataset.expected is not None
    assert [c.images for c in dataset.expected.values()] == [32_621, 11_659, 82_161]


def test_identities_of_the_two_sides_never_meet(tmp_path: Path) -> None:
    report = check(read("msmt17", write_msmt17(tmp_path, "MSMT17_V1")))
    assert report.problems == []
    assert not any("both trained on and tested on" in warning for warning in report.warnings)
    assert report.found["train"].identities == 2


def test_what_no_list_names_is_left_out(tmp_path: Path) -> None:
    folder = write_msmt17(tmp_path, "MSMT17_V1")
    write_tree(folder, ["train/0000/0000_001_01_0303morning_0016_0.jpg", "test/0007/0007_000_01_0303noon_0001_0.jpg"])
    (folder / "test" / "Thumbs.db").write_bytes(b"")
    with (folder / "list_val.txt").open("a") as stream:  # an empty line, and a training picture a second time
        stream.write("\n" + LISTS["list_train.txt"][0] + "\n")
    dataset = read("msmt17", folder)
    assert dataset.left_out == {
        "in no list that is read": [
            "test/0007/0007_000_01_0303noon_0001_0.jpg",
            "train/0000/0000_001_01_0303morning_0016_0.jpg",
        ],
        "not a picture": ["test/Thumbs.db"],
        "listed again": ["train/0000/0000_000_01_0303morning_0015_0.jpg"],
    }
    assert len(dataset.records) == 5


def test_a_listed_picture_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_msmt17(tmp_path, "MSMT17_V2")
    (folder / "mask_test_v2" / "0000" / "0000_002_03_0114noon_0001_0.jpg").unlink()
    report = check(read("msmt17", folder))
    assert len(report.problems) == 1
    assert "mask_test_v2/0000/0000_002_03_0114noon_0001_0.jpg is not: No such file" in report.problems[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0000_wrong.jpg 0", r"list_gallery\.txt, line 2: a line must look like '0000/0000_000"),
        ("../0000_002_03_0114noon_0001_0.jpg 0", r"line 2: a line must look like"),
        (
            LISTS["list_query.txt"][0],
            r"line 2: every image must be listed once, but test/0000.* is also listed at .*query\.txt, line 1",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = write_msmt17(tmp_path, "MSMT17_V1")
    with (folder / "list_gallery.txt").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match=message):
        read("msmt17", folder)


def test_a_wrong_level_is_told(tmp_path: Path) -> None:
    folder = write_msmt17(tmp_path / "reid", "MSMT17_V2")
    for inside in ("mask_train_v2", "mask_train_v2/0000"):
        with pytest.raises(DataError, match=rf"MSMT17 V2 lies further up: set the dataset's path to {folder}"):
            read("msmt17", folder / inside)
    with pytest.raises(DataError, match=rf"list_gallery\.txt.*lies further down: set the dataset's path to {folder}"):
        read("msmt17", tmp_path)
    (tmp_path / "reid" / "other").mkdir()
    with pytest.raises(DataError, match=rf"lies beside it: set the dataset's path to {folder}"):
        read("msmt17", tmp_path / "reid" / "other")


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    folder = write_msmt17(tmp_path, "MSMT17_V2")
    (folder / "list_val.txt").unlink()
    with pytest.raises(DataError, match=rf"neither {folder} nor .*\({folder} lacks list_val\.txt\)"):
        read("msmt17", folder)


def test_two_versions_side_by_side_are_not_guessed(tmp_path: Path) -> None:
    for version in FOLDERS:
        write_msmt17(tmp_path, version)
    with pytest.raises(DataError, match=r"one dataset, but .* leads to MSMT17 V1 at .*MSMT17_V1 and MSMT17 V2 at"):
        read("msmt17", tmp_path)
    assert read("msmt17", tmp_path / "MSMT17_V2").name == "MSMT17 V2"


def test_empty_lists_are_an_error(tmp_path: Path) -> None:
    folder = write_msmt17(tmp_path, "MSMT17_V1")
    for name in LISTS:
        (folder / name).write_text("\n")
    with pytest.raises(DataError, match="at least one image"):
        read("msmt17", folder)
    (folder / "list_train.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DataError, match=r"readable text, but .*list_train\.txt is not"):
        read("msmt17", folder)
