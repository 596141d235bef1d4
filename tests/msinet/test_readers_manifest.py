"""A manifest is read as spreadsheets, pandas and people write it, and what is wrong with it is named by its line."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msinet.data import DataError, Record
from msinet.data.readers import read

HEADER = "path,identity,camera,subset\n"
ROWS = "1.jpg,5,2,train\n2.jpg,6,,gallery\n"
RECORDS = (Record("1.jpg", 5, 2, "train"), Record("2.jpg", 6, None, "gallery"))


def manifest(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.csv").write_bytes(text.encode())
    return folder


def parquet(folder: Path, **columns: Any) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "manifest.parquet")
    return folder


def camids(folder: Path) -> list[int | None]:
    return [record.camid for record in read("manifest", folder).records]


def pids(folder: Path) -> list[int | str]:
    return [record.pid for record in read("manifest", folder).records]


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
    with pytest.raises(DataError, match="lacks subset; found: 'path', 'identity'"):
        read("manifest", manifest(tmp_path, "path,identity\na.jpg,1\n"))
    with pytest.raises(DataError, match="at least one image"):
        read("manifest", manifest(tmp_path, "path,identity,subset\n"))
    with pytest.raises(DataError, match="lacks path, identity, subset; found: none at all"):
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


@pytest.mark.parametrize(
    "text",
    [
        (HEADER + ROWS).replace(",", ";"),
        (HEADER + ROWS).replace(",", "\t"),
        (HEADER + ROWS).replace(",", "|"),
        (HEADER + ROWS).replace(",", ", "),
        "sep=,\r\n" + HEADER + ROWS,
        "sep=;\r\n" + (HEADER + ROWS).replace(",", ";"),
        ("\ufeff" + HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\n", "\r"),
        "\n,,,\n" + HEADER + ROWS + ",,,\n ,,, \n\n",
        "Path,IDENTITY, Camera ,subset\n" + ROWS,
        'path,identity,camera,subset\n"1.jpg","5","2","train"\n"2.jpg", "6", "", "gallery"\n',
        HEADER + ROWS.replace("train", "Train"),
        HEADER + "1.jpg,5.0,2.0,train\n2.jpg,6.0,nan,gallery\n",
        "path;identity;camera;subset\n1.jpg;5,0;2,00;train\n2.jpg;6,0;;gallery\n",
        "path,identity,camera,subset,,\n1.jpg,5,2,train,,\n2.jpg,6,#N/A,gallery,,\n",
    ],
)
def test_tables_of_spreadsheets_and_pandas_are_read(tmp_path: Path, text: str) -> None:
    assert read("manifest", manifest(tmp_path, text)).records == RECORDS


def test_cameras_are_numbered_by_their_sorted_labels(tmp_path: Path) -> None:
    rows = "1.jpg,5,north,train\n2.jpg,5,,train\n3.jpg,5,cam10,train\n4.jpg,6,cam2,train\n5.jpg,6,north,train\n"
    assert camids(manifest(tmp_path, HEADER + rows)) == [3, None, 1, 2, 3]
    assert camids(manifest(tmp_path, HEADER + "1.jpg,5,2,train\n2.jpg,5,2.0,train\n3.jpg,5,left,train\n")) == [1, 1, 2]
    large = HEADER + "1.jpg,5,20230911081500,train\n2.jpg,5,7,train\n"
    assert camids(manifest(tmp_path, large)) == [1, 2]


def test_cameras_that_are_whole_numbers_stay_these_numbers(tmp_path: Path) -> None:
    assert camids(manifest(tmp_path, HEADER + "1.jpg,5,-1,train\n2.jpg,5,0012,train\n3.jpg,5,7.0,train\n")) == [
        -1,
        12,
        7,
    ]


def test_numbers_with_a_fraction_are_names(tmp_path: Path) -> None:
    """With three zeros, it is unknown whether a point divides off thousands."""
    assert pids(manifest(tmp_path, HEADER + "1.jpg,1.5,1,train\n2.jpg,2.0,1,train\n")) == ["1.5", "2.0"]
    assert pids(manifest(tmp_path, HEADER + "1.jpg,1.000,1,train\n2.jpg,2,1,train\n")) == ["1.000", "2"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        *(
            (f"a.jpg,{mark},1,train", f"line 3: the identity must not be empty, but got '{mark}'")
            for mark in ("nan", "NaN", "<NA>", "None", "NA", "#N/A", "NULL")
        ),
        ("nan,1,1,train", "line 3: the path must name an image, but got 'nan'"),
        ("a.jpg,1.23457E+12,1,train", r"line 3: the identity must be written in full, but 1.23457E\+12 is a rounded"),
        ('a.jpg,1,"1,2E+11",train', r"line 3: the camera must be written in full, but 1,2E\+11 is a rounded"),
        (
            "a.jpg,\x1b[1mbus,1,train",
            r"line 3: the identity must not hold control characters, but got '\\x1b\[1mbus'",
        ),
        ('"a\n.jpg",1,1,train', r"line 4: the path must not hold control characters, but got 'a\\n\.jpg'"),
        (f"a.jpg,{'9' * 5000},1,train", "line 3: the identity must have at most 1,000 characters, but has 5,000"),
    ],
)
def test_a_cell_that_is_damaged_is_named_by_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("manifest", manifest(tmp_path, f"{HEADER}0.jpg,1,1,train\n{row}\n"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,identity,camera,Camera", "lacks subset; found: 'path', 'identity', 'camera', 'Camera'"),
        ("path,identity,subset,identity", "a manifest must have each column once, but .* has identity twice"),
        ("path,identity,subset,camid", "a manifest must name this column camera, but .* names it camid"),
        ("path,identity,subset,Camera_ID", "must name this column camera, but .* names it camera_id"),
        ('"path,identity,camera,subset"', "lacks path, identity, subset; found: 'path,identity,camera,subset'"),
        ("path/identity/camera/subset", "lacks path, identity, subset; found: 'path/identity/camera/subset'"),
    ],
)
def test_a_header_that_is_wrong_is_told(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("manifest", manifest(tmp_path, f"{header}\n1.jpg,1,1,train\n"))


def test_other_columns_may_be_there_twice(tmp_path: Path) -> None:
    text = "note,path,identity,subset,note,camera_height\nx,1.jpg,5,train,y,3\n"
    assert read("manifest", manifest(tmp_path, text)).records == (Record("1.jpg", 5, None, "train"),)


def test_a_name_in_two_unicode_forms_is_told(tmp_path: Path) -> None:
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    for rows, column in (
        (f"1.jpg,{composed},1,train\n2.jpg,{decomposed},1,train\n", "identity"),
        (f"1.jpg,1,{composed},train\n2.jpg,1,{decomposed},train\n", "camera"),
    ):
        with pytest.raises(DataError, match=rf"each {column} must be written in one Unicode form.*'Jose\\u0301'"):
            read("manifest", manifest(tmp_path, HEADER + rows))
    assert pids(manifest(tmp_path, f"{HEADER}1.jpg,{decomposed},1,train\n")) == [decomposed]


def test_texts_of_parquet_may_be_bytes_or_categories(tmp_path: Path) -> None:
    folder = parquet(
        tmp_path,
        path=[b"1.jpg", b"2.jpg"],
        identity=pa.array([b"bus", b"car"], pa.large_binary()),
        camera=pa.array(["left", None]).dictionary_encode(),
        subset=pa.array(["train", "gallery"], pa.large_string()),
    )
    assert read("manifest", folder).records == (
        Record("1.jpg", "bus", 1, "train"),
        Record("2.jpg", "car", None, "gallery"),
    )


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ([b"\xb8\xb1", b"1"], r"row 1: a text must be UTF-8, but got b'\\xb8\\xb1'"),
        ([1.0, 2.0**60], r"row 2: a large number must be stored as a whole number or as text, but 1\.15\d*e\+18 is"),
        (pa.array([1.0, 2.0**24], pa.float32()), r"row 2: a large number .* but 16777216\.0 is rounded"),
        ([[1], [2]], "the column identity must hold texts or numbers, but it holds list"),
        ([True, False], "the column identity must hold texts or numbers, but it holds bool"),
        ([1.0, float("nan")], "row 2: the identity must not be empty"),
    ],
)
def test_what_is_wrong_in_parquet_is_told(tmp_path: Path, identity: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read("manifest", parquet(tmp_path, path=["1.jpg", "2.jpg"], identity=identity, subset=["train", "train"]))


def test_damaged_and_unreadable_tables_are_told(tmp_path: Path) -> None:
    file = parquet(tmp_path, path=["1.jpg"] * 999, identity=range(999), subset=["train"] * 999) / "manifest.parquet"
    data = bytearray(file.read_bytes())
    data[4:400] = b"\xff" * 396
    file.write_bytes(data)
    with pytest.raises(DataError, match="must be a readable Parquet file"):
        read("manifest", tmp_path)
    file.unlink()
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "manifest.csv").write_bytes((HEADER + "1.jpg,Jos\u00e9,1,train\n").encode(encoding))
        with pytest.raises(DataError, match=r"must be a CSV file in UTF-8.*save as CSV UTF-8"):
            read("manifest", tmp_path)


@pytest.mark.parametrize(
    ("at", "lies"), [("set", "set/cars.csv"), (".", "set/manifest.csv"), ("set/train", "set/manifest.csv")]
)
def test_a_manifest_near_the_path_is_named(tmp_path: Path, at: str, lies: str) -> None:
    (tmp_path / "set" / "train").mkdir(parents=True)
    file = tmp_path / lies
    file.write_text(HEADER + ROWS)
    with pytest.raises(DataError, match=rf"holds neither\. Set it to {file}, if that is the manifest"):
        read("manifest", tmp_path / at)
