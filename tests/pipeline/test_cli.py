"""The real command line runs in a subprocess without Ray: what it prints, and its exit code."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.command_line import manifest, msinet, write


def test_help_names_the_verbs(tmp_path: Path) -> None:
    ended = msinet("--help", folder=tmp_path)
    assert ended.returncode == 0
    for verb in ("prepare", "plan", "run", "status", "report", "sync", "check", "ui"):
        assert verb in ended.stdout


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_missing_folder_ends_at_once(tiny: dict[str, Any], tmp_path: Path, verb: str) -> None:
    tiny["datasets"]["street"] = {"kind": "market1501", "path": "/nowhere"}
    ended = msinet(verb, write(tmp_path, tiny), folder=tmp_path)
    assert ended.returncode == 2
    assert "/nowhere" in ended.stderr
    assert "datasets.street.path" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_truncated_picture_ends_before_anything_runs(tiny: dict[str, Any], tmp_path: Path) -> None:
    folder = manifest(tmp_path / "mine")
    victim = sorted(folder.glob("train/*.jpg"))[3]
    victim.write_bytes(victim.read_bytes()[:400])
    tiny["datasets"]["mine"] = {"kind": "manifest", "path": str(folder)}
    tiny["sources"] = ["mine"]
    path = write(tmp_path, tiny)
    ran = msinet("run", path, folder=tmp_path)
    assert ran.returncode == 2
    assert victim.name in ran.stderr
    assert "datasets.mine.path" in ran.stderr
    checked = msinet("check", path, folder=tmp_path)
    assert checked.returncode == 2
    assert victim.name in checked.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"retrain": {"cross_domain": {"epoch": 1}}},
            "`retrain.cross_domain.epoch`. Did you mean `epochs`?",
        ),
        ({"searches": {}}, "unknown key `searches`. Did you mean `search`?"),
        ({"targets": ["strete"]}, "Did you mean `street`?"),
        ({"search": {"batch_size": 6, "num_instances": 4}}, "`batch_size` must be a multiple of `num_instances`"),
        ({"splits": ["90-10"]}, "the validation side of 90-10 on street has 1"),
        ({"retrain": {"in_domain": {"batch_size": 64, "num_instances": 4}}}, "has 10 for training"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    tiny: dict[str, Any], tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    ended = msinet("run", write(tmp_path, {**tiny, **change}), folder=tmp_path)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_check_tells_what_a_dataset_holds(tmp_path: Path) -> None:
    ended = msinet("check", "--data", f"manifest={manifest(tmp_path / 'mine')}", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    for word in ("identities", "images", "cameras", "train", "query", "gallery"):
        assert word in ended.stdout
    wrong = msinet("check", "--data", "markt1501=/x", folder=tmp_path)
    assert wrong.returncode == 2
    assert "market1501" in wrong.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_any_text_is_printed_on_any_terminal(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", f"{encoding}:strict")
    folder = manifest(tmp_path / "mine")
    folder = folder.rename(os.fsdecode(bytes(tmp_path) + b"/mine\xb8"))
    ended = msinet("check", "--data", f"manifest={folder}", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"mine\udcb8" in ended.stdout
    planned = msinet("plan", write(tmp_path, tiny), folder=tmp_path)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "evaluate" in planned.stdout
