import hashlib
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from support.pictures import items, jpeg, truncated_jpeg

from msinet.data import DataError, Dataset, Record
from msinet.data.check import check, content_hash, fingerprint
from msinet.data.dataset import Counts
from msinet.data.packed import gather_source


def dataset_of(root: Path, rows: list[tuple[int | str, int | None, str]]) -> Dataset:
    """Return a dataset with one picture file for each (identity, camera, subset)."""
    records = [Record(f"{n:02}.jpg", pid, camid, subset) for n, (pid, camid, subset) in enumerate(rows)]
    for seed, record in enumerate(records):
        (root / record.path).write_bytes(jpeg(seed))
    return Dataset("small", root, tuple(records))


SOUND = [(1, 1, "train"), (1, 2, "train"), (2, 1, "train"), (2, 2, "train"), (5, 1, "query"), (5, 2, "gallery")]


def test_a_sound_dataset_has_no_problems(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, SOUND)
    report = check(dataset)
    assert (report.problems, report.warnings) == ([], [])
    assert report.found == {"train": Counts(2, 4, 2), "query": Counts(1, 1, 1), "gallery": Counts(1, 1, 1)}
    assert report.modes == {"RGB": 6}
    assert report.fingerprint == fingerprint(
        (record, (tmp_path / record.path).read_bytes()) for record in dataset.records
    )
    assert "problems: none" in report.format()


def test_bad_files_are_named_one_by_one(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, SOUND)
    (tmp_path / "00.jpg").unlink()
    (tmp_path / "02.jpg").write_bytes(truncated_jpeg(0))
    (tmp_path / "03.jpg").write_bytes(b"Thumbs")
    report = check(dataset)
    problems = report.problems
    assert report.fingerprint is None
    assert len(problems) == 3
    assert "00.jpg is not: No such file" in problems[0]
    assert "02.jpg does not: image file is truncated" in problems[1]
    assert problems[2].startswith("an image must be a file in one of the formats JPEG, PNG, BMP, WEBP, but 03.jpg is")


def test_grey_and_cmyk_pictures_are_counted(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, SOUND)
    (tmp_path / "01.jpg").write_bytes(jpeg(1, mode="L"))
    (tmp_path / "02.jpg").write_bytes(jpeg(2, mode="CMYK"))
    (tmp_path / "03.jpg").write_bytes(jpeg(3, mode="CMYK"))
    report = check(dataset)
    assert (report.num_grey, report.num_cmyk, report.problems) == (1, 2, [])
    assert "grey-scale images: 1; CMYK images: 2" in report.format()


def test_identities_shared_by_training_and_test_are_told(tmp_path: Path) -> None:
    report = check(dataset_of(tmp_path, [*SOUND, (2, 3, "gallery")]))
    assert report.warnings == ["1 identities are both trained on and tested on: 2."]


def test_lonely_identities_and_unmatched_queries_are_warnings(tmp_path: Path) -> None:
    rows = [*SOUND, (9, 1, "train"), (6, 1, "query"), (6, 1, "gallery"), (7, 1, "query")]
    report = check(dataset_of(tmp_path, rows))
    assert report.problems == []
    assert report.warnings == [
        "1 training identities have one image only: 9.",
        "2 queries have no match under another camera and are skipped: 07.jpg, 09.jpg.",
    ]


def test_without_any_match_nothing_can_be_evaluated(tmp_path: Path) -> None:
    report = check(dataset_of(tmp_path, [(1, 1, "train"), (1, 2, "train"), (6, 1, "query"), (6, 1, "gallery")]))
    assert report.problems == [
        "at least one query must have a match under another camera, but none has: "
        "if there is one camera only, leave the column `camera` of a manifest empty."
    ]
    assert check(dataset_of(tmp_path, [(6, 1, "query"), (7, 2, "gallery")])).problems == [
        "at least one query must have a match under another camera, but none has."
    ]


def test_only_what_a_role_uses_is_judged(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [(1, 1, "train"), (2, 1, "train"), (2, 1, "query"), (2, 1, "gallery")])
    (tmp_path / "02.jpg").write_bytes((tmp_path / "01.jpg").read_bytes())
    source, target = check(dataset, roles=["source"]), check(dataset, roles=["target"])
    assert (source.problems, source.warnings) == ([], ["2 training identities have one image only: 1, 2."])
    assert (len(target.problems), target.warnings) == (1, [])
    assert len(check(dataset).warnings) == 3, "an identity and a picture are both trained on and tested on"
    assert source.fingerprint == target.fingerprint == check(dataset).fingerprint is not None
    (tmp_path / "03.jpg").unlink()
    assert "03.jpg is not: No such file" in check(dataset, roles=["source"]).problems[0]
    train, query = replace(dataset, records=dataset.records[:2]), replace(dataset, records=dataset.records[2:3])
    assert check(train, roles=["source"]).warnings == source.warnings
    assert check(query, roles=["target"]).warnings == ["the dataset has no gallery images."]


def test_a_name_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, SOUND)
    name = os.fsdecode("0\u526f\u672c.jpg".encode("gbk"))
    (tmp_path / "00.jpg").rename(tmp_path / name)
    renamed = replace(dataset, records=(replace(dataset.records[0], path=name), *dataset.records[1:]))
    report = check(renamed)
    assert report.fingerprint is None
    sentence = r"an image's name must be UTF-8, but 0\xb8\xb1\xb1\xbe.jpg is not: rename it (for example with convmv)."
    assert report.problems == [sentence]
    with pytest.raises(DataError, match="an image's name must be UTF-8"):
        list(gather_source(renamed))


def test_without_cameras_every_gallery_image_of_the_identity_matches(tmp_path: Path) -> None:
    rows = [(1, None, "train"), (1, None, "train"), (6, None, "query"), (6, None, "gallery")]
    report = check(dataset_of(tmp_path, rows))
    assert (report.problems, report.warnings) == ([], [])
    mixed = check(dataset_of(tmp_path, [*rows[:3], (6, 1, "gallery")]))
    assert mixed.warnings == ["1 of 2 query and gallery images have no camera, but the others have one."]


def test_counts_stand_beside_the_stated_ones(tmp_path: Path) -> None:
    stated = {"train": Counts(identities=751, images=12_936)}
    dataset = replace(dataset_of(tmp_path, SOUND), expected=stated, left_out={"junk (identity -1)": ["-1.jpg"] * 3_819})
    report = check(dataset)
    text = report.format()
    assert "2 (751)" in text
    assert "4 (12,936)" in text
    assert "left out: 3,819 junk (identity -1) (such as -1.jpg)" in text
    assert "train has 4 images, but 12,936 are commonly stated." in report.warnings


def test_subsets_that_are_not_there_are_told(tmp_path: Path) -> None:
    report = check(dataset_of(tmp_path, [(1, 1, "train"), (1, 2, "train")]))
    assert report.warnings == ["the dataset has no query images.", "the dataset has no gallery images."]


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    check(dataset_of(tmp_path, SOUND), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(1, 7)]


def test_fingerprint_ignores_order_and_takes_bytes_or_hashes() -> None:
    rows = items()
    shuffled = random.Random(0).sample(rows, len(rows))
    hashed = [(record, content_hash(data)) for record, data in rows]
    assert fingerprint(rows) == fingerprint(shuffled) == fingerprint(hashed)


def test_the_value_of_a_fingerprint_never_changes() -> None:
    """Finished stages are found by the fingerprint of their dataset."""
    rows = [(Record("b.jpg", "car", 2, "query"), b"b"), (Record("a.jpg", 1, None, "train"), b"a")]
    lines = [
        f'["a.jpg", 1, null, "train", "{hashlib.sha256(b"a").hexdigest()}"]',
        f'["b.jpg", "car", 2, "query", "{hashlib.sha256(b"b").hexdigest()}"]',
    ]
    assert fingerprint(rows) == hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        (Record("a.jpg", 1, 1, "train"), b"changed"),
        (Record("b.jpg", 1, 1, "train"), b"data"),
        (Record("a.jpg", "1", 1, "train"), b"data"),
        (Record("a.jpg", 2, 1, "train"), b"data"),
        (Record("a.jpg", 1, 2, "train"), b"data"),
        (Record("a.jpg", 1, None, "train"), b"data"),
        (Record("a.jpg", 1, 1, "query"), b"data"),
    ],
)
def test_everything_that_counts_changes_the_fingerprint(other: tuple[Record, bytes]) -> None:
    assert fingerprint([other]) != fingerprint([(Record("a.jpg", 1, 1, "train"), b"data")])


def test_doubled_suffixes_are_counted(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, SOUND)
    (tmp_path / "01.jpg").rename(tmp_path / "01.JPG.jpg")
    records = (dataset.records[0], replace(dataset.records[1], path="01.JPG.jpg"), *dataset.records[2:])
    report = check(replace(dataset, records=records))
    assert (report.num_double_suffix, report.problems, report.warnings) == (1, [], [])
    assert "names ending in .jpg.jpg: 1" in report.format()


def test_a_drawn_gallery_wants_an_identity_with_two_images(tmp_path: Path) -> None:
    rows: list[tuple[int | str, int | None, str]] = [(1, None, "train"), (1, None, "train"), (6, None, "query")]
    report = check(replace(dataset_of(tmp_path, [*rows, (7, None, "query")]), protocol="random_gallery"))
    assert report.problems == ["at least one test identity must have two images, but none has."]
    report = check(replace(dataset_of(tmp_path, [*rows, (6, None, "query")]), protocol="random_gallery"))
    assert (report.problems, report.warnings, report.protocol) == ([], [], "random_gallery")


def test_without_queries_a_drawn_gallery_is_told_once(tmp_path: Path) -> None:
    rows: list[tuple[int | str, int | None, str]] = [(1, None, "train"), (1, None, "train")]
    report = check(replace(dataset_of(tmp_path, rows), protocol="random_gallery"))
    assert (report.problems, report.warnings) == ([], ["the dataset has no query images."])


def test_a_protocol_is_one_of_two_and_fits_the_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be one of fixed, random_gallery, but got 'random'"):
        Dataset("small", tmp_path, (), protocol="random")
    with pytest.raises(ValueError, match="all test images must be queries"):
        replace(dataset_of(tmp_path, SOUND), protocol="random_gallery")
