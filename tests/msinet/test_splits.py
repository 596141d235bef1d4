import math
import os
import random
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msinet.data import DataError, Record
from msinet.data.splits import (
    check_split_sizes,
    identity_split,
    load_split,
    parse_split,
    save_split,
    saved_split_report,
    split_report,
)

TABLE_9 = ["90-10", "75-25", "67-33", "50-50", "33-67", "25-75", "10-90"]
TABLE_9 += ["60-60", "40-80", "60-80", "80-60", "80-80", "100-100"]


def records_of(counts: dict[int | str, int]) -> list[Record]:
    """Return images of each identity under cameras 3, 2, 1, 3, …, with file names in reverse order."""
    return [
        Record(f"train/{pid}_{50 - n}.jpg", pid, 3 - n % 3, "train")
        for pid, count in counts.items()
        for n in range(count)
    ]


def slow_split(records: list[Record], train_percent: int, valid_percent: int) -> tuple[set[str], set[str]]:
    """Return the paths of both sides for integer identities, by a direct translation of the definition."""
    images = defaultdict(list)
    for record in records:
        images[record.pid].append(record)
    order = sorted(images)
    train_end = math.floor(Fraction(len(order) * train_percent, 100))
    valid_start = math.floor(Fraction(len(order) * (100 - valid_percent), 100))
    sides: tuple[set[str], set[str]] = (set(), set())
    shared_so_far = 0
    for position, pid in enumerate(order):
        owners = [side for side, owns in enumerate([position < train_end, position >= valid_start]) if owns]
        ordered = sorted(images[pid], key=lambda record: (record.camid, record.path.split("/")[-1]))
        if len(owners) == 1 or len(ordered) == 1:
            sides[owners[0]].update(record.path for record in ordered)
            shared_so_far += len(owners) == 2
            continue
        turn = shared_so_far % 2
        shared_so_far += 1
        for record in ordered:
            sides[turn].add(record.path)
            turn = 1 - turn
    return sides


@pytest.mark.parametrize("split", TABLE_9)
@pytest.mark.parametrize("num_ids", [7, 20])
def test_splits_equal_the_slow_loop(split: str, num_ids: int) -> None:
    records = records_of({pid: 1 + pid * 7 % 5 for pid in range(3, 3 + num_ids)})
    train, valid = identity_split(records, *parse_split(split))
    assert ({r.path for r in train}, {r.path for r in valid}) == slow_split(records, *parse_split(split))
    assert sorted([*train, *valid], key=lambda r: r.path) == sorted(records, key=lambda r: r.path)


@pytest.mark.parametrize("split", TABLE_9)
def test_the_order_of_the_records_changes_nothing(split: str) -> None:
    records = records_of({pid: 1 + pid % 4 for pid in range(12)})
    shuffled = random.Random(1).sample(records, len(records))
    assert identity_split(shuffled, *parse_split(split)) == identity_split(records, *parse_split(split))


def test_numbers_are_ordered_as_numbers_and_names_as_names() -> None:
    numbers = identity_split(records_of({2: 1, 10: 1, 1: 1, 30: 1}), 50, 50)
    assert [{r.pid for r in side} for side in numbers] == [{1, 2}, {10, 30}]
    names = identity_split(records_of({"2": 1, "10": 1, "1": 1, "x": 1}), 50, 50)
    assert [{r.pid for r in side} for side in names] == [{"1", "10"}, {"2", "x"}]


def test_shared_identities_are_dealt_by_camera_then_file_name() -> None:
    records = [Record(f"{name}.jpg", 1, camid, "train") for name, camid in [("d", 1), ("b", 2), ("a", 2), ("c", 1)]]
    records += [Record(f"2{record.path}", 2, record.camid, "train") for record in records]
    train, valid = identity_split(records, 100, 100)
    assert [r.path for r in train] == ["2b.jpg", "2d.jpg", "a.jpg", "c.jpg"]
    assert [r.path for r in valid] == ["2a.jpg", "2c.jpg", "b.jpg", "d.jpg"]


def test_a_shared_identity_with_one_image_stays_with_training_and_is_reported() -> None:
    records = records_of({1: 4, 2: 1, 3: 1, 4: 2})
    train, valid = identity_split(records, 100, 100)
    assert {r.pid for r in valid} == {1, 4}
    report = split_report(records, 100, 100)
    assert (report.shared_ids, report.single_image_ids) == (4, 2)
    assert (report.train_ids, report.valid_ids) == (4, 2)
    assert (report.train_images, report.valid_images) == (len(train), len(valid)) == (5, 3)


def test_a_seed_shuffles_the_identities_first() -> None:
    records = records_of(dict.fromkeys(range(40), 2))
    plain, seeded, again, other = (identity_split(records, 50, 50, split_seed=seed) for seed in (None, 0, 0, 1))
    assert seeded == again
    assert len({tuple(train) for train, _ in (plain, seeded, other)}) == 3
    assert {r.pid for r in seeded[0]} | {r.pid for r in seeded[1]} == set(range(40))
    assert split_report(records, 60, 80, split_seed=3).shared_ids == 16


@pytest.mark.parametrize("text", ["60-30", "0-100", "101-50", "60", "60-80-1", "a-b", "-60-80", " 60-80"])
def test_other_splits_are_errors(text: str) -> None:
    with pytest.raises(DataError, match=r"a split"):
        parse_split(text)


def test_a_split_below_one_hundred_percent_is_an_error() -> None:
    with pytest.raises(DataError, match=r"at least 100 percent together, but got 40-40"):
        identity_split(records_of({1: 1, 2: 1}), 40, 40)


def test_a_side_too_small_for_a_batch_is_named() -> None:
    train, valid = identity_split(records_of(dict.fromkeys(range(20), 2)), 80, 20)
    check_split_sizes(train, valid, num_ids=4, dataset_name="market", split="80-20")
    with pytest.raises(DataError, match=r"at least 16 identities .* validation side of 80-20 on market has 4"):
        check_split_sizes(train, valid, num_ids=16, dataset_name="market", split="80-20")


def test_the_hash_seed_changes_nothing() -> None:
    program = (
        "from msinet.data import Record; from msinet.data.splits import identity_split\n"
        "records = [Record(f'{p}_{n}.jpg', p, n, 'train') for p in ['a', 'b', '1', '01', 'c'] for n in range(3)]\n"
        "print(identity_split(records, 60, 80, split_seed=5))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("split", ["60-80", "50-50"])
def test_a_saved_split_is_the_same_split(split: str, tmp_path: Path) -> None:
    records = records_of({pid: 2 + pid % 3 for pid in range(1, 11)})
    sides = identity_split(records, *parse_split(split))
    save_split(tmp_path / "split.parquet", *sides)
    assert load_split(tmp_path / "split.parquet", records[::-1]) == sides
    assert saved_split_report(*sides) == split_report(records, *parse_split(split))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "train/none.jpg"}, "row 1: a split must name training images.*there is no such image"),
        ({"identity": "9"}, "row 1: .* and that image shows 1"),
        (
            {"side": "test"},
            "row 1: an image must be named once and be on one side, train or valid, but .* is on 'test'",
        ),
    ],
)
def test_a_split_that_does_not_fit_its_dataset(change: dict[str, str], sentence: str, tmp_path: Path) -> None:
    records = records_of({1: 2, 2: 2})
    save_split(tmp_path / "split.parquet", records[:2], records[2:])
    rows = pq.read_table(tmp_path / "split.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**rows[0], **change}, *rows[1:]]), tmp_path / "split.parquet")
    with pytest.raises(DataError, match=sentence):
        load_split(tmp_path / "split.parquet", records)


def test_a_split_names_an_image_once(tmp_path: Path) -> None:
    records = records_of({1: 2, 2: 2})
    save_split(tmp_path / "split.parquet", records, records[:1])
    with pytest.raises(DataError, match=r"row 5: .* is named twice"):
        load_split(tmp_path / "split.parquet", records)


def test_a_file_that_is_no_split(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("60-80")
    with pytest.raises(DataError, match="readable Parquet file"):
        load_split(tmp_path / "text", [])
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "columns")
    with pytest.raises(DataError, match="lacks identity, side"):
        load_split(tmp_path / "columns", [])


def test_a_split_by_another_program_is_read(tmp_path: Path) -> None:
    """Its texts may be bytes, and its identities may be floating-point numbers."""
    records = records_of({1: 1, 2: 1})
    rows = {"Path": [r.path.encode() for r in records], "identity": [1.0, 2.0], "side": [b"train", b"valid"]}
    pq.write_table(pa.table(rows), tmp_path / "split.parquet")
    assert load_split(tmp_path / "split.parquet", records) == (records[:1], records[1:])
