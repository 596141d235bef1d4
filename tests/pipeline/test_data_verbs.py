"""The verbs `check` and `evaluate`, in this process: what they print about data, and what they refuse."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import manifest, write

from msinet import build_model
from msinet.data import Dataset, Record
from msinet.data.readers import read
from pipeline.by_hand import evaluate_by_hand
from pipeline.checking import check_data, check_experiment
from pipeline.errors import RequestError
from pipeline.plan.preflight import checked_fingerprint, signature
from pipeline.storage.workspace import Workspace


@pytest.fixture
def unwritable(tmp_path: Path) -> str:
    """Return the address of a workspace that nobody can make, not even root."""
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "workspace")


def evaluated(tmp_path: Path, data: Path, workspace: str) -> str:
    """Evaluate an untrained network on a manifest."""
    torch.manual_seed(0)
    weights = tmp_path / "model.pth"
    torch.save(build_model("osnet", num_classes=3, scales=[3]).state_dict(), weights)
    return evaluate_by_hand(
        weights,
        "osnet",
        {"scales": [3]},
        [f"manifest={data}"],
        (32, 16),
        Workspace(workspace),
        after_neck=False,
        rerank=False,
    )


def test_a_check_prints_its_findings_also_if_the_workspace_cannot_be_written_to(
    tiny: dict[str, Any], tmp_path: Path, unwritable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny["datasets"]["mine"] = {"kind": "manifest", "path": str(manifest(tmp_path / "mine"))}
    tiny["sources"] = ["mine"]
    with pytest.raises(RequestError, match=r"workspace must be writable, but .* \(--workspace\)"):
        check_experiment(write(tmp_path, tiny), unwritable, None, None)
    assert "problems: none" in capsys.readouterr().out


def test_an_evaluation_needs_a_workspace_that_can_be_written_to(tmp_path: Path, unwritable: str) -> None:
    with pytest.raises(RequestError, match=r"workspace must be writable, but .* \(--workspace\)"):
        evaluated(tmp_path, manifest(tmp_path / "mine"), unwritable)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["pipe", "device", "EPS", "TIFF"])
def test_a_file_that_is_no_picture_is_named_by_every_verb(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = manifest(tmp_path / "mine")
    victim = sorted(data.glob("query/*.jpg"))[0]
    picture = Image.open(victim).copy()
    victim.unlink()
    if kind == "pipe":
        os.mkfifo(victim)
    elif kind == "device":
        victim.symlink_to("/dev/zero")
    else:
        picture.save(victim, kind)
    sentence = f"an image must be .*{victim.name} is (another kind of file|damaged or of another kind)"
    assert not check_data(f"manifest={data}")
    assert re.search(sentence, capsys.readouterr().out)
    with pytest.raises(RequestError, match=sentence):
        evaluated(tmp_path, data, str(tmp_path / "workspace"))


def test_16_bit_pictures_of_a_camera_with_12_bits_end_before_anything_runs(tmp_path: Path) -> None:
    data = manifest(tmp_path / "mine")
    for path in data.glob("*/*.jpg"):
        levels_HW = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(levels_HW * 16).save(path, "PNG")
    with pytest.raises(RequestError, match="must have at least 32 levels in their upper 8 bits"):
        evaluated(tmp_path, data, str(tmp_path / "workspace"))


def changed_in_secret(path: Path) -> None:
    """Write another picture to a file, and give the file its former size and times."""
    before = path.stat()
    other = io.BytesIO()
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other, "JPEG", quality=20)
    assert len(other.getvalue()) < before.st_size
    path.write_bytes(other.getvalue().ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("fault", ["changed picture", "another fingerprint"])
def test_after_a_change_that_no_time_shows_the_told_remedy_helps(tmp_path: Path, fault: str) -> None:
    data, place = manifest(tmp_path / "mine"), str(tmp_path / "workspace")
    workspace, dataset = Workspace(place), read("manifest", data)
    checked_fingerprint("mine", dataset, workspace, lambda line: None, "--data")
    if fault == "changed picture":
        changed_in_secret(data / dataset.records[0].path)
    else:
        workspace.keep_fingerprint(signature(dataset), "ab" * 32)
    with pytest.raises(RequestError, match=r"must not change after its check, but .* did: run again"):
        evaluated(tmp_path, data, place)
    assert "manifest=" in evaluated(tmp_path, data, place)


def test_a_picture_that_changes_is_checked_again(tmp_path: Path) -> None:
    data, workspace, said = manifest(tmp_path / "mine"), Workspace(tmp_path / "workspace"), list[str]()
    dataset = read("manifest", data)
    picture = data / dataset.records[0].path

    def checked() -> str:
        return checked_fingerprint("mine", dataset, workspace, said.append, "--data")

    first = checked()
    assert checked() == first
    assert len(said) == 1, "only once unless they change"
    os.utime(picture, ns=(0, 0))
    assert checked() == first
    assert len(said) == 2
    Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    os.utime(picture, ns=(0, 0))
    assert checked() != first, "its size is another one"


def test_a_picture_that_no_system_can_name_is_a_wrong_request(tmp_path: Path) -> None:
    for name, reason in (("none.jpg", "No such file"), ("a" * 300, "File name too long"), ("a\0b", "embedded null")):
        dataset = Dataset("mine", tmp_path, (Record(name, 1, 1, "query"),))
        with pytest.raises(RequestError, match=rf"must be readable, but .* is not: {reason}.* \(--data\)"):
            checked_fingerprint("mine", dataset, Workspace(tmp_path), lambda line: None, "--data")
