"""Verbs that only read make no workspace, and say when there is none."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.command_line import write

from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace

READING = ["status", "report", "sync", "ui"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run `msinet ...` in this process. Return its exit code, its output and its errors."""
    try:
        main([*arguments])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


def arguments(verb: str, file: Path, address: str) -> list[str]:
    return [verb, *([] if verb == "ui" else [str(file)]), "--workspace", address]


@pytest.mark.parametrize("verb", READING)
@pytest.mark.parametrize("kind", ["nothing", "a folder without results"])
def test_a_wrong_workspace_is_told_and_not_made(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, kind: str
) -> None:
    file, place = write(tmp_path, tiny), tmp_path / "there" / "workspace"
    if kind == "a folder without results":
        (place / "pictures").mkdir(parents=True)
        (place / "pictures" / "1.jpg").write_text("no picture")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(capsys, *arguments(verb, file, str(place)))
    assert code == 2, out + err
    assert err.startswith(f"error: there must be a workspace at {place}, but there is none."), err
    assert "--workspace" in err
    assert len(err.splitlines()) == 1
    assert not out
    assert sorted(tmp_path.rglob("*")) == before, "nothing is made"


@pytest.mark.parametrize("verb", [*READING, "plan", "check", "run"])
@pytest.mark.parametrize("kind", ["file", "link to itself", "pipe"])
def test_a_workspace_that_is_no_folder_is_told(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, kind: str
) -> None:
    file, place = write(tmp_path, tiny), tmp_path / "workspace"
    if kind == "file":
        place.write_text("a file")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(place)
    code, out, err = run(capsys, *arguments(verb, file, str(place)))
    assert (code, out) == (2, "")
    assert err == (
        f"error: a workspace must be a folder, but {place} is something else (--workspace, MSINET_WORKSPACE).\n"
    )


@pytest.mark.parametrize("verb", READING)
def test_a_wrong_workspace_on_s3_is_told(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], s3_address: str, verb: str
) -> None:
    code, out, err = run(capsys, *arguments(verb, write(tmp_path, tiny), f"{s3_address}/elsewhere"))
    assert code == 2, out + err
    assert err.startswith(f"error: there must be a workspace at {s3_address}/elsewhere, but there is none."), err


@pytest.mark.parametrize("kind", ["file", "pipe", "long name"])
def test_a_report_that_cannot_be_written_is_one_sentence(
    finished: tuple[Plan, Workspace],
    tiny: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    out = tmp_path / ("x" * 300 if kind == "long name" else "out")
    if kind == "file":
        out.touch()
    elif kind == "pipe":
        os.mkfifo(out)
    address = finished[1].address
    code, printed, err = run(capsys, *arguments("report", write(tmp_path, tiny), address), "--out", str(out))
    assert (code, printed) == (2, "")
    assert err.startswith(f"error: {out} must be a file or folder to read or write, but: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link to itself", "other bytes", "nothing"])
def test_what_holds_no_weights_is_named_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    model = tmp_path / "model.pth"
    if kind == "pipe":
        os.mkfifo(model)
    elif kind == "folder":
        model.mkdir()
    elif kind == "device":
        model.symlink_to("/dev/zero")
    elif kind == "link to itself":
        model.symlink_to(model)
    elif kind == "other bytes":
        model.write_bytes(b"x" * 1000)
    data, place = f"manifest={tmp_path}", str(tmp_path / "workspace")
    code, out, err = run(capsys, "evaluate", str(model), "--data", data, "--workspace", place)
    assert (code, out) == (2, "")
    assert str(model) in err
    assert "(MODEL" in err
    assert "needs a genotype" not in err, "that none is given is no fault of a file without weights"
    assert len(err.splitlines()) == 1


def test_a_plan_needs_no_workspace_and_makes_none(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "workspace"
    code, out, err = run(capsys, "plan", str(write(tmp_path, tiny)), "--workspace", str(place))
    assert code == 0, err
    assert "pending" in out
    assert not place.exists()


@pytest.mark.parametrize("verb", ["status", "report"])
def test_a_workspace_without_a_result_is_read(
    tiny: dict[str, Any], workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    workspace.keep_fingerprint("signature", "fingerprint")  # as `check` does
    code, _, err = run(capsys, *arguments(verb, write(tmp_path, tiny), workspace.address))
    assert code == 0, err


def test_status_shows_why_a_stage_failed(
    tiny: dict[str, Any], workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = plan(Experiment.model_validate(tiny)).stages["prepare street"]
    failure = Failure("a picture is damaged", traceback="Traceback of it\n", log="said before\nthe end\n")
    workspace.record_failure(workspace.begin("prepare", str(stage.key)), failure)
    code, out, err = run(capsys, *arguments("status", write(tmp_path, tiny), workspace.address))
    assert code == 0, err
    told = (
        "\nfailed: prepare street\n  a picture is damaged\n"
        "  traceback:\n    Traceback of it\n  log:\n    said before\n    the end\n\nnext: "
    )
    assert told in out, out
