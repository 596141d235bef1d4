"""Paths name identities, cameras and subsets: patterns read them, and what no name says is never guessed silently."""

from pathlib import Path

import pytest
from support.pictures import write_tree

from msinet.data import DataError
from msinet.data.folders.layouts import known_layouts, proposals
from msinet.data.folders.patterns import Seen, picture_paths, read_paths
from msinet.data.folders.subsets import divide, split_queries


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{camera}/{identity}_*.jpg", "cam1/0007_3.jpg", ("0007", "cam1", "")),
        ("{identity}_c{camera}*", "0002_c12s1_000451_03.jpg", ("0002", "12", "")),
        ("{identity}_cam{camera}*", "bus_0002_cam1.JPG", ("bus_0002", "1", "")),
        ("{subset}/{identity}/{camera}_*", "train/red car/north_7.png", ("red car", "north", "train")),
        ("**/{identity}/c{camera}*", "a/b/17/c2.jpg", ("17", "2", "")),
        ("**/{identity}/c{camera}*", "17/c2.jpg", ("17", "2", "")),
        ("{identity}.jpg", "a.jpg", ("a", "", "")),
    ],
)
def test_a_pattern_reads_a_path(pattern: str, path: str, expected: tuple[str, str, str]) -> None:
    seen, others = read_paths(pattern, [path])
    assert [(s.identity, s.camera, s.subset) for s in seen] == [expected], others


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{camera}/{identity}_*.jpg", "0007_3.jpg"),
        ("{camera}/{identity}_*.jpg", "cam1/deeper/0007_3.jpg"),
        ("{identity}_c{camera}*", "bus_0002_cam1.jpg"),  # never a part of a word
        ("{identity}.jpg", "a.jpg.txt"),
        ("{identity}[0-9].jpg", "a1.jpg"),  # only the places and * have a meaning
    ],
)
def test_a_path_that_does_not_fit_is_returned(pattern: str, path: str) -> None:
    assert read_paths(pattern, [path]) == ([], [path])


@pytest.mark.parametrize("pattern", ["{camera}/*", "{identity}_{identity}", "{id}/*", "{identity", "*{}*{identity}"])
def test_a_wrong_pattern_is_told(pattern: str) -> None:
    with pytest.raises(DataError, match="pattern"):
        read_paths(pattern, [])


def names(*groups: str) -> list[str]:
    """Return paths of four identities under two cameras with two pictures each, in the form of each group."""
    return [
        group.format(i=identity, c=camera, n=n)
        for group in groups
        for identity in range(10, 14)
        for camera in (1, 2)
        for n in range(2)
    ]


@pytest.mark.parametrize(
    ("paths", "pattern"),
    [
        (names("{i}_c{c}_{n}.jpg"), "{identity}_c{camera}*"),
        (names("photos/{i}_cam{c}_{n}.jpg"), "photos/{identity}_cam{camera}*"),
        (names("cam{c}/{i}_{n}.jpg"), "{camera}/{identity}_*"),
        (names("cam{c}/{i}/{n}.jpg"), "{camera}/{identity}/*"),
        (names("{i}/camera_{c}/{n}.jpg"), "{identity}/{camera}/*"),
        (names("{i}/x_c{c}_{n}.jpg"), "{identity}/*_c{camera}*"),
        (names("{i}/{c}{n}.jpg"), "{identity}/*"),
        (names("all/train/cam{c}/{i}_{n}.jpg", "all/test/cam{c}/{i}_{n}.jpg"), "all/{subset}/{camera}/{identity}_*"),
    ],
)
def test_names_of_folders_and_files_suggest_a_pattern(paths: list[str], pattern: str) -> None:
    first, *_ = proposals(paths)
    assert first.pattern == pattern
    assert {seen.identity for seen in first.seen} == {"10", "11", "12", "13"}
    assert not first.unmatched


def test_pictures_that_do_not_fit_a_proposal_are_returned() -> None:
    paths = [*names("cam{c}/{i}_{n}.jpg"), "logo.png"]
    assert proposals(paths)[0].unmatched == ["logo.png"]


@pytest.mark.parametrize("paths", [names("{i}{c}{n}.jpg"), names("north{c}/{i}{n}.jpg")[:2], ["a.jpg"]])
def test_nothing_is_proposed_where_no_name_says_an_identity(paths: list[str]) -> None:
    assert proposals(paths) == []


def test_known_layouts_are_known_by_their_files(tmp_path: Path) -> None:
    folders = ("bounding_box_train", "bounding_box_test", "query")
    write_tree(tmp_path / "Market-1501-v15.09.15", [f"{folder}/0002_c1s1_000451_03.jpg" for folder in folders])
    assert [kind for kind, _ in known_layouts(tmp_path)] == ["market1501"]


def test_pictures_are_found_through_a_link_and_other_files_are_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "disk", ["b/1.jpg", "a/2.PNG", "a/.hidden.jpg"])
    (tmp_path / "disk" / "a" / "notes.txt").write_text("")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "pictures").symlink_to(tmp_path / "disk")
    assert picture_paths(mine) == (["pictures/a/2.PNG", "pictures/b/1.jpg"], ["pictures/a/notes.txt"])
    with pytest.raises(DataError, match="readable"):
        picture_paths(tmp_path / "nowhere")


def test_subsets_are_those_that_folders_name() -> None:
    seen = [
        Seen(f"{s}/{i}_{c}.jpg", str(i), str(c), s) for s in ("train", "Test", "old") for i in (1, 2) for c in (1, 2)
    ]
    divided = divide(seen)
    assert divided.unknown == [s.path for s in seen if s.subset == "old"]
    assert [subset for _, subset in divided.pictures] == ["train"] * 4 + ["query", "gallery"] * 2
    assert len(divided.chosen) == 1, "which test pictures are queries"


def test_without_names_every_third_identity_is_tested() -> None:
    seen = [Seen(f"{i}_{c}.jpg", str(i), str(c)) for i in range(1, 8) for c in (1, 2)]
    divided = divide(seen)
    tested = {picture.identity for picture, subset in divided.pictures if subset != "train"}
    assert tested == {"3", "6"}
    assert len(divided.chosen) == 2


@pytest.mark.parametrize(
    ("cameras", "queries"),
    [
        ("12", {0}),  # the second one must stay: the first would have no match otherwise
        ("1122", {0, 2}),
        ("123", {0, 1}),
        ("11", set()),  # no other camera
        ("  ", {0}),  # unknown cameras: any other picture is a match
        (" ", set()),
    ],
)
def test_every_query_keeps_a_match(cameras: str, queries: set[int]) -> None:
    seen = [Seen(f"{number}.jpg", "7", camera.strip()) for number, camera in enumerate(cameras)]
    assert split_queries(seen) == {f"{number}.jpg" for number in queries}
