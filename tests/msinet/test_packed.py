import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import items, jpeg, truncated_jpeg

from msinet.data import DataError, Dataset, Record, packed
from msinet.data.check import fingerprint
from msinet.data.packed import ImageStore, PackedDataset, gather_source, write_shards

MIXED = [
    (Record("a.jpg", 7, None, "gallery"), jpeg(1)),
    (Record("b.jpg", "0007", 3, "query"), jpeg(2, (10, 30))),
    (Record("c/d.jpg", -1, 0, "train"), jpeg(3, mode="L")),
]


@pytest.fixture
def shards(tmp_path: Path) -> PackedDataset:
    write_shards(items(), tmp_path / "shards")
    return PackedDataset(tmp_path / "shards")


@pytest.mark.parametrize("rows_per_shard", [1, 2, 100])
@pytest.mark.parametrize("rows_per_batch", [1, 2, 256])
def test_what_is_written_is_read(
    tmp_path: Path, rows_per_shard: int, rows_per_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "ROWS_PER_BATCH", rows_per_batch)
    summary = write_shards(iter(MIXED), tmp_path, rows_per_shard=rows_per_shard)
    assert summary == {
        "fingerprint": fingerprint(MIXED),
        "train_fingerprint": fingerprint([item for item in MIXED if item[0].subset == "train"]),
        "images": {"gallery": 1, "query": 1, "train": 1},
        "identities": {"gallery": 1, "query": 1, "train": 1},
        "shards": -(-3 // rows_per_shard),
        "bytes": sum(len(data) for _, data in MIXED),
    }
    dataset = PackedDataset(tmp_path)
    assert [(record, bytes(dataset.bytes(i))) for i, record in enumerate(dataset.records)] == MIXED
    assert [dataset.subset(name).tolist() for name in ("train", "query", "gallery")] == [[2], [1], [0]]
    with pytest.raises(IndexError):
        dataset.bytes(3)


def test_images_are_not_all_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "ROWS_PER_BATCH", 2)
    sizes: list[int] = []
    whole = packed._record_batch
    monkeypatch.setattr(packed, "_record_batch", lambda rows: sizes.append(len(rows)) or whole(rows))
    write_shards(items(), tmp_path, rows_per_shard=5)
    assert sizes == [2, 2, 1, 2, 2, 1, 2]


def test_shards_need_rising_paths_images_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sorted and distinct, but a.jpg follows b.jpg"):
        write_shards([MIXED[1], MIXED[0]], tmp_path / "fall")
    with pytest.raises(DataError, match=r"sorted and distinct, but a.jpg follows a.jpg"):
        write_shards([MIXED[0], MIXED[0]], tmp_path / "twice")
    with pytest.raises(DataError, match="at least one image"):
        write_shards([], tmp_path / "none")
    write_shards(MIXED, tmp_path / "once")
    with pytest.raises(ValueError, match="holds some"):
        write_shards(MIXED, tmp_path / "once")


def test_no_shards_or_a_torn_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold shard-00000\.arrow"):
        PackedDataset(tmp_path)
    write_shards(MIXED, tmp_path)
    os.truncate(tmp_path / "shard-00000.arrow", 500)
    with pytest.raises(DataError, match="whole Arrow file"):
        PackedDataset(tmp_path)


def test_source_files_are_gathered_as_they_are(tmp_path: Path) -> None:
    for record, data in items():
        (tmp_path / record.path).parent.mkdir(exist_ok=True)
        (tmp_path / record.path).write_bytes(data)
    dataset = Dataset("small", tmp_path, tuple(record for record, _ in items()))
    assert list(gather_source(dataset)) == items()
    (tmp_path / "train/0002_c1.jpg").unlink()
    with pytest.raises(DataError, match=r"1 are missing in .*: train/0002_c1.jpg"):
        next(gather_source(dataset))
    os.mkfifo(tmp_path / "train/0002_c1.jpg")
    with pytest.raises(DataError, match=r"must be a regular file, but train/0002_c1.jpg is another kind of file"):
        list(gather_source(dataset))


def test_pixels_equal_pillow_picture_by_picture(shards: PackedDataset, tmp_path: Path) -> None:
    indices = [5, 0, 11, 3]
    store = ImageStore.open(shards, indices, (24, 20), tmp_path / "cache", "key")
    assert (len(store), store.size_HW) == (4, (24, 20))
    for position, index in enumerate(indices):
        image = Image.open(io.BytesIO(shards.bytes(index))).convert("RGB")
        expected = np.asarray(image.resize((20, 24), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(store.gather([position])[0].numpy(), expected)
    both = store.gather(np.array([2, 2, 0]))
    assert both.shape == (3, 24, 20, 3)
    assert both[0].equal(both[1])
    both.zero_()  # `both` is a copy, so this does not change the store
    assert store.gather([2]).any()


def test_orientation_in_exif_is_ignored(tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(jpeg(0)))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, exif=exif)
    rotated = packed.decode_rgb(file.getvalue(), "rotated", (32, 16))
    plain = io.BytesIO()
    image.save(plain, "JPEG", quality=90)
    np.testing.assert_array_equal(rotated, packed.decode_rgb(plain.getvalue(), "plain", (32, 16)))


def test_a_store_is_built_once(shards: PackedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ImageStore.open(shards, range(12), (8, 8), tmp_path / "cache", "key")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(packed, "_build", None)  # a second build would fail
    second = ImageStore.open(shards, range(12), (8, 8), tmp_path / "cache", "key")
    assert first.gather(range(12)).equal(second.gather(range(12)))


def test_each_content_selection_and_size_has_a_file_of_its_own(shards: PackedDataset, tmp_path: Path) -> None:
    for indices, size_HW, key in [
        ([0, 1], (8, 4), "a"),
        ([1, 0], (8, 4), "a"),
        ([0, 1], (4, 8), "a"),
        ([0, 1], (8, 4), "b"),
    ]:
        ImageStore.open(shards, indices, size_HW, tmp_path / "cache", key)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_builders_at_the_same_time_do_no_harm(shards: PackedDataset, tmp_path: Path) -> None:
    def build(_: int) -> np.ndarray:
        return ImageStore.open(shards, range(12), (8, 8), tmp_path / "cache", "key").gather(range(12)).numpy()

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(build, range(4))
    assert all(np.array_equal(first, other) for other in others)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_torn_store_is_built_anew(shards: PackedDataset, tmp_path: Path) -> None:
    whole = ImageStore.open(shards, range(12), (8, 8), tmp_path / "cache", "key").gather(range(12))
    (file,) = (tmp_path / "cache").iterdir()
    file.unlink()
    file.write_bytes(b"torn")
    assert ImageStore.open(shards, range(12), (8, 8), tmp_path / "cache", "key").gather(range(12)).equal(whole)


def test_a_truncated_picture_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    write_shards([*items(), (Record("zz.jpg", 9, 1, "train"), truncated_jpeg(1))], tmp_path / "shards")
    dataset = PackedDataset(tmp_path / "shards")
    with pytest.raises(DataError, match=r"zz.jpg does not: image file is truncated"):
        ImageStore.open(dataset, range(13), (8, 8), tmp_path / "cache", "key")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ValueError, match="`indices` is empty"):
        ImageStore.open(dataset, [], (8, 8), tmp_path / "cache", "key")
