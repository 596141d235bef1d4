import os
from pathlib import Path

import pytest

from msinet.data.names import hint, is_unicode, printable


@pytest.mark.parametrize(
    ("there", "wanted", "sentence"),
    [
        ("train/1.JPG", "train/1.jpg", " Did you mean train/1.JPG?"),
        ("Train/1.jpg", "train/1.jpg", " Did you mean Train/1.jpg?"),
        ("train/1.png", "train/1.jpg", " Did you mean train/1.png?"),
        ("train/1.jpg", "set/train/1.jpg", " Did you mean train/1.jpg?"),
        ("pictures/train/1.jpg", "train/1.jpg", " Did you mean pictures/train/1.jpg?"),
        ("../train/1.jpg", "train/1.jpg", " Did you mean ../train/1.jpg?"),
        ("../set/train/1.jpg", "set/train/1.jpg", " Did you mean train/1.jpg?"),
        ("train/2.jpg", "train/1.jpg", ""),
        ("train/1.jpg", "train/1.jpg", ""),
        ("train/1.txt", "train/1.jpg", ""),
        ("train/1.jpg", "train/1.jpg/2.jpg", ""),
        (
            "Jose\u0301.jpg",
            "Jos\u00e9.jpg",
            r" The file's name has another Unicode form there: 'Jose\u0301.jpg' instead of 'Jos\xe9.jpg'.",
        ),
    ],
)
def test_a_missing_file_may_be_near(there: str, wanted: str, sentence: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / there).parent.mkdir(parents=True, exist_ok=True)
    (root / there).write_text("")
    assert hint(root, wanted) == sentence


def test_names_are_printed_without_what_a_terminal_obeys() -> None:
    gbk = os.fsdecode("0001_c1\u526f\u672c.jpg".encode("gbk"))
    assert (printable(gbk), is_unicode(gbk)) == (r"0001_c1\xb8\xb1\xb1\xbe.jpg", False)
    assert printable("a\n\x1b[31m.jpg") == r"a\n\x1b[31m.jpg"
    assert (printable("Jos\u00e9 1.jpg"), is_unicode("Jos\u00e9 1.jpg")) == ("Jos\u00e9 1.jpg", True)
