import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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


def manifest(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
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
    assert dataset.left_out == {"junk (identity -1)": 2, "not a picture": 2, "unexpected file name": 1}
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
    listing = Path.iterdir

    def shuffled(self: Path) -> list[Path]:
        entries = sorted(listing(self))
        random.Random(0).shuffle(entries)
        return entries

    monkeypatch.setattr(Path, "iterdir", shuffled)
    assert read("market1501", market) == expected


def test_manifest_reads_rows_in_any_order(tmp_path: Path) -> None:
    folder = manifest(
        tmp_path / "cars",
        "subset,path,camera,identity,colour\nquery,b/2.jpg,4,12,red\n\ntrain,./a//1.jpg,,7,\ntrain,a/0.jpg, 3 ,7,\n",
    )
    dataset = read("manifest", folder)
    assert (dataset.name, dataset.root, dataset.expected) == ("cars", folder, None)
    assert dataset.records == (
        Record("a/0.jpg", 7, 3, "train"),
        Record("a/1.jpg", 7, None, "train"),
        Record("b/2.jpg", 12, 4, "query"),
    )
    assert read("manifest", folder / "manifest.csv") == dataset


def test_manifest_identities_are_integers_only_where_all_are(tmp_path: Path) -> None:
    folder = manifest(tmp_path, "path,identity,subset\n1.jpg,0007,train\n2.jpg,bus_1,train\n")
    assert [record.pid for record in read("manifest", folder).records] == ["0007", "bus_1"]


def test_manifest_as_parquet_equals_csv(tmp_path: Path) -> None:
    csv = manifest(tmp_path / "set", "path,identity,camera,subset\n1.jpg,5,2,train\n2.jpg,6,,gallery\n")
    parquet = tmp_path / "parquet" / "set"
    parquet.mkdir(parents=True)
    columns = {"path": ["1.jpg", "2.jpg"], "identity": [5, 6], "camera": [2.0, float("nan")]}
    pq.write_table(pa.table({**columns, "subset": ["train", "gallery"]}), parquet / "manifest.parquet")
    assert read("manifest", parquet).records == read("manifest", csv).records


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,1,1,test", r"line 3: the subset must be one of train, query, gallery, but got 'test'"),
        ("a.jpg,1,left,train", r"line 3: the camera must be a whole number or empty, but got 'left'"),
        ("a.jpg,,1,train", r"line 3: the identity must not be empty"),
        (",1,1,train", r"line 3: the path must name an image"),
        ("/a.jpg,1,1,train", r"line 3: the path must be relative to the manifest's folder"),
        (r"C:\a.jpg,1,1,train", r"line 3: the path must be relative to the manifest's folder"),
        ("b/../../a.jpg,1,1,train", r"line 3: the path must stay inside the manifest's folder"),
        (r"..\a.jpg,1,1,train", r"line 3: the path must stay inside the manifest's folder"),
        ("b/../0.jpg,1,1,train", r"line 3: every path must be listed once, but 0.jpg is also listed at .*line 2"),
        ("a.jpg,1,train", r"line 3: a row must have 4 cells, but this one has 3"),
        ('"a.jpg,1,1,train', r"must be a CSV file in UTF-8"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, rows: str, message: str) -> None:
    folder = manifest(tmp_path, f"path,identity,camera,subset\n0.jpg,1,1,train\n{rows}\n")
    with pytest.raises(DataError, match=message):
        read("manifest", folder)


def test_manifest_without_a_column_or_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="subset is missing; found: path, identity"):
        read("manifest", manifest(tmp_path, "path,identity\na.jpg,1\n"))
    with pytest.raises(DataError, match="at least one image"):
        read("manifest", manifest(tmp_path, "path,identity,subset\n"))
    with pytest.raises(DataError, match="path, identity, subset is missing; found: none at all"):
        read("manifest", manifest(tmp_path, ""))


def test_manifest_must_be_one_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither"):
        read("manifest", tmp_path)
    manifest(tmp_path, "path,identity,subset\na.jpg,1,train\n")
    (tmp_path / "manifest.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="holds both"):
        read("manifest", tmp_path)
    with pytest.raises(DataError, match="readable Parquet"):
        read("manifest", tmp_path / "manifest.parquet")
    (tmp_path / "list.txt").write_text("")
    with pytest.raises(DataError, match="must end in"):
        read("manifest", tmp_path / "list.txt")


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
