"""An experiment's YAML file is read strictly, in bounded memory and time, and every fault of it is one sentence."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.command_line import MAIN, ROOT, environment, msinet

from pipeline.config.document import MAX_BYTES, read_mapping
from pipeline.errors import RequestError


def read(folder: Path, text: str | bytes) -> dict[Any, Any]:
    path = folder / "experiment.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_mapping(path)


def doubled(first: str, line: str) -> str:
    """Return nine levels of a value, each of which names the level below ten times."""
    aliases = [",".join([f"*a{level - 1}"] * 10) for level in range(1, 10)]
    return f"a0: &a0 {first}\n" + "".join(line.format(n, aliases[n - 1]) for n in range(1, 10))


LISTS = doubled("[x]", "a{0}: &a{0} [{1}]\n")
MERGES = doubled("{k: 1}", "a{0}: &a{0} {{<<: [{1}], k{0}: 1}}\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb:\n  c: 1\n  'c': 2\n", "`c` is in line 3 too (line 4, column 3)"),
        ("a: 1\nb: 2\na: 3\n", "`a` is in line 1 too (line 3, column 1)"),
        ("a: &a {x: 1}\nb: {<<: *a, y: 1, y: 2}\n", "`y` is in line 2 too"),
        (LISTS, "at most 20000 values"),
        (MERGES, "at most 20000 values"),
        (f"a: [{'1,' * 30_000}]", "at most 20000 values"),
        ("[" * 20_000, "nested at most 32 deep"),
        ("{a: " * 20_000, "nested at most 32 deep"),
        ("- " * 20_000, "nested at most 32 deep"),
        ("a: &a [*a]\n", "must not stand inside its own value"),
        ("a: " + "x" * MAX_BYTES, "at most 500000 bytes"),
        (f"a: {'9' * 5000}", "at most 100 digits"),
        (f"a: 0x{'f' * 5000}", "at most 100 digits"),
        ("a: !!int x", "'x' is no int"),
        ("a: !!bool x", "'x' is no bool"),
        ("a: 0x_", "'0x_' is no int"),
        ("a: !!python/object:os.system {}", "python/object:os.system' is not known"),
        ("a: !!set {b}", "is not known"),
        ("a: {<<: 3}", "expected a mapping or list of mappings for merging"),
        ("? [a]\n: 1", "unhashable key"),
        ('a: "\\e[31m"', "printable characters only, but got '\\x1b[31m'"),
        ('"a\\nb": 1', "printable characters only, but got 'a\\nb'"),
        ('a: "\\u202e"', "printable characters only"),
        ('a: "\\ud800"', "printable characters only"),
        (b"a: \0", "special characters are not allowed"),
        (b"a: \xff", "it is not UTF-8 (byte 3)"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: [", "line 1, column 5"),
        ("a: b: c", "mapping values are not allowed here (line 1, column 5)"),
        ("a: *b", "undefined alias 'b'"),
        ("", "holds nothing"),
        ("[1, 2]", "holds a value of type list"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(RequestError) as error:
        read(tmp_path, text)
    assert sentence in str(error.value)
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


def test_merged_keys_may_be_given_again(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}\nd: {<<: [*b, {z: 1}]}\n"
    assert read(tmp_path, text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 3, "y": 2},
        "c": {"x": 4, "y": 2},
        "d": {"x": 3, "y": 2, "z": 1},
    }


def test_dates_are_texts_and_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfname: 2024-02-30\n2024-01-01: =") == {"name": "2024-02-30", "2024-01-01": "="}


@pytest.mark.parametrize("place", ["/dev/zero", "/tmp", "fifo", "link"])
def test_only_a_regular_file_is_read(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "fifo":
        os.mkfifo(path)
    if place == "link":
        path.symlink_to("/dev/zero")
    with pytest.raises(RequestError, match="must be a regular file"):
        read_mapping(path)


@pytest.mark.parametrize("text", [LISTS, MERGES, "[" * 20_000])
def test_a_bomb_ends_in_little_memory_and_time(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", MAIN, "plan", str(path)],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert time.monotonic() - began < 100


def test_a_key_that_stands_twice_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: twice\nsources: [a]\nname: again\n")
    ended = msinet("plan", path, folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert "`name` is in line 1 too (line 3, column 1)" in ended.stderr
