"""Several datasets become one training set: identities and cameras stay apart, and each split cuts every dataset."""

import io
from pathlib import Path

from PIL import Image
from support.pictures import items

from msinet.data.combined import combine, combined_pictures
from msinet.data.packed import PackedDataset, write_shards
from msinet.data.records import Record, label_of
from msinet.data.splits import identity_split


def records(pids: list[int | str], cameras: list[int | None]) -> list[Record]:
    return [Record(f"{pid}_{camera}.jpg", pid, camera, "train") for pid in pids for camera in cameras]


PARTS = [records([2, 10, 7], [1, 2]), records(["b", "a", "10", "d", "c"], [1, None, 5]), records([7, 8], [None])]


def slow_numbers(groups: list[list[str]]) -> list[tuple[int, str]]:
    """Return the members in the order of their share of their own group, by comparing every pair."""
    members = [(group, member) for group, names in enumerate(groups) for member in names]

    def before(one: tuple[int, str], other: tuple[int, str]) -> bool:
        place = []
        for group, member in (one, other):
            names = groups[group]
            place.append((names.index(member) + 0.5) / len(names))
        return (place[0], one[0]) < (place[1], other[0])

    return sorted(members, key=lambda member: sum(before(other, member) for other in members))


def test_identities_and_cameras_are_numbered_as_a_slow_loop_numbers_them() -> None:
    pids = slow_numbers([["2", "7", "10"], ["10", "a", "b", "c", "d"], ["7", "8"]])
    cameras = slow_numbers([["1", "2"], ["1", "5"], []])
    combined = combine(PARTS)
    for part, (before, after) in enumerate(zip(PARTS, combined, strict=True)):
        for one, other in zip(before, after, strict=True):
            assert other.path == f"0{part + 1}/{one.path}"
            assert other.pid == pids.index((part, str(one.pid))) + 1
            assert other.camid == (None if one.camid is None else cameras.index((part, str(one.camid))) + 1)
            assert other.subset == "train"


def test_equal_names_of_different_datasets_are_different_identities() -> None:
    everything = [record for part in combine(PARTS) for record in part]
    assert len(label_of(everything)) == 3 + 5 + 2
    assert len({(record.camid) for record in everything} - {None}) == 2 + 2


def test_a_split_cuts_every_dataset_at_the_same_percent() -> None:
    parts = [records(list(range(10)), [1, 2]), records(list(range(40)), [1, 2])]
    everything = [record for part in combine(parts) for record in part]
    train, valid = identity_split(everything, 70, 30)
    for side, percent in ((train, 70), (valid, 30)):
        for number, part in enumerate(parts, start=1):
            found = {record.pid for record in side if record.path.startswith(f"0{number}/")}
            assert len(found) == len({record.pid for record in part}) * percent // 100


def test_pictures_keep_their_bytes(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        rows = [*items(2, 2, "query"), *items(2 + number, 2, "train")]
        write_shards(rows, tmp_path / f"{number}")
        parts.append((PackedDataset(tmp_path / f"{number}"), {r.path: data for r, data in rows}))
    found = list(combined_pictures([packed for packed, _ in parts]))
    assert len(found) == 4 + 6, "the training pictures only"
    assert [record.path for record, _ in found] == sorted(record.path for record, _ in found)
    for record, data in found:
        number, _, path = record.path.partition("/")
        assert data == parts[int(number) - 1][1][path]
        assert Image.open(io.BytesIO(data)).size == (16, 32)
