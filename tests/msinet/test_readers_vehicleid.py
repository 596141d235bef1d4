from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.pictures import write_tree

from msinet.data import DataError, Record
from msinet.data.check import check
from msinet.data.galleries import random_galleries
from msinet.data.readers import READERS, read

LISTS = {
    "train_list.txt": "0000001 7\n0000002 7\n0000010 12\n0000011 12\n",
    "test_list_800.txt": "0000003 90\n0000004 90\n",
    "test_list_1600.txt": "0000003 90\n0000004 90\n0000005 101\n",
    "test_list_2400.txt": "0000003 90\r\n0000004 90\r\n0000005 101\r\n0000006 8\r\n0000007 8\r\n",
}


@pytest.fixture
def vehicleid(tmp_path: Path) -> Path:
    folder = tmp_path / "VehicleID"
    write_tree(folder, [f"image/{n:07}.jpg" for n in (*range(1, 9), 10, 11)])
    (folder / "train_test_split").mkdir()
    for name, text in LISTS.items():
        (folder / "train_test_split" / name).write_bytes(text.encode())
    return folder


def test_vehicleid_reads_the_papers_list(vehicleid: Path) -> None:
    dataset = read("vehicleid", vehicleid)
    assert dataset.records == (
        Record("image/0000001.jpg", 7, None, "train"),
        Record("image/0000002.jpg", 7, None, "train"),
        Record("image/0000003.jpg", 90, None, "query"),
        Record("image/0000004.jpg", 90, None, "query"),
        Record("image/0000005.jpg", 101, None, "query"),
        Record("image/0000006.jpg", 8, None, "query"),
        Record("image/0000007.jpg", 8, None, "query"),
        Record("image/0000010.jpg", 12, None, "train"),
        Record("image/0000011.jpg", 12, None, "train"),
    )
    assert (dataset.name, dataset.protocol) == ("vehicleid2400", "random_gallery")
    assert dataset.left_out == {"in no list that is read": ["image/0000008.jpg"]}
    assert read("vehicleid2400", vehicleid.parent) == dataset


@pytest.mark.parametrize(("num_test_ids", "images", "unlisted"), [(800, 2, 4), (1600, 3, 3), (2400, 5, 1)])
def test_each_list_is_a_kind(vehicleid: Path, num_test_ids: int, images: int, unlisted: int) -> None:
    kind = f"vehicleid{num_test_ids}"
    assert kind in READERS
    dataset = read(kind, vehicleid)
    assert sum(record.subset == "query" for record in dataset.records) == images
    assert {reason: len(files) for reason, files in dataset.left_out.items()} == {"in no list that is read": unlisted}
    assert dataset.expected is not None
    assert dataset.expected["query"].identities == num_test_ids
    assert (dataset.expected["train"].identities, dataset.expected["train"].images) == (13_164, 113_346)


def test_the_check_knows_that_the_gallery_is_drawn(vehicleid: Path) -> None:
    report = check(read("vehicleid1600", vehicleid))
    assert report.problems == []
    assert not any("no gallery" in warning or "no match" in warning for warning in report.warnings)
    assert "1 test identities have one image only, which is in every gallery and never a query: 101." in report.warnings
    assert "the gallery is drawn at random" in report.format()


def test_missing_pictures_are_named_and_shared_identities_told(vehicleid: Path) -> None:
    (vehicleid / "image" / "0000004.jpg").unlink()
    with (vehicleid / "train_test_split" / "train_list.txt").open("a") as stream:
        stream.write("0000008 90\n")
    report = check(read("vehicleid800", vehicleid))
    assert len(report.problems) == 1
    assert "image/0000004.jpg is not: No such file" in report.problems[0]
    assert "1 identities are both trained on and tested on: 90." in report.warnings


def test_only_the_list_that_is_read_must_be_there(vehicleid: Path) -> None:
    (vehicleid / "train_test_split" / "test_list_2400.txt").unlink()
    assert read("vehicleid800", vehicleid).name == "vehicleid800"
    with pytest.raises(DataError, match=r"lacks train_test_split/test_list_2400\.txt"):
        read("vehicleid", vehicleid)


def test_a_wrong_level_and_a_bad_line_are_told(vehicleid: Path) -> None:
    with pytest.raises(DataError, match=rf"VehicleID lies further up: set the dataset's path to {vehicleid}"):
        read("vehicleid", vehicleid / "train_test_split")
    with (vehicleid / "train_test_split" / "test_list_800.txt").open("a") as stream:
        stream.write("0000009\n")
    with pytest.raises(DataError, match=r"test_list_800\.txt, line 3: a line must look like '0022000 12345'"):
        read("vehicleid800", vehicleid)


PIDS = [10, 9, 9, 10, 2, 9, 10, 10]


def test_each_draw_divides_the_images() -> None:
    draws = random_galleries(PIDS)
    assert len(draws) == 10
    for query, gallery in draws:
        assert sorted([*query, *gallery]) == list(range(len(PIDS)))
        assert [PIDS[i] for i in sorted(gallery, key=lambda i: PIDS[i])] == [2, 9, 10]
        assert list(query) == sorted(query)
        assert list(gallery) == sorted(gallery)
        assert 4 in gallery  # the only image of identity 2
    assert len({tuple(gallery) for _, gallery in draws}) > 1


def test_draws_follow_from_the_seed_alone() -> None:
    ten, three = random_galleries(PIDS, seed=5), random_galleries(PIDS, draws=3, seed=5)
    for (query, gallery), (query_again, gallery_again) in zip(ten[:3], three, strict=True):
        np.testing.assert_array_equal(query, query_again)
        np.testing.assert_array_equal(gallery, gallery_again)
    other = random_galleries(PIDS, seed=6)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(ten, other, strict=True))


def test_every_image_is_drawn_about_equally_often() -> None:
    counts = Counter(int(i) for _, gallery in random_galleries(["a", "a", "a", "a", "b"], draws=2000) for i in gallery)
    assert counts[4] == 2000
    assert all(abs(counts[i] - 500) < 100 for i in range(4))  # five standard deviations


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(DataError, match="2 test images show 2 identities"):
        random_galleries([1, 2])
    with pytest.raises(DataError, match="0 test images"):
        random_galleries([])
    with pytest.raises(ValueError, match="`draws` must be at least 1, but got 0"):
        random_galleries([1, 1], draws=0)
