"""What the command line prints reaches a terminal as text only, and an output that fails gives the right exit code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import MAIN, ROOT, environment, msinet, write

import pipeline.grid
from pipeline.cli import main
from pipeline.output import Output, say
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace


def printing_to(out: Any, *arguments: str | Path, folder: Path, code: str = MAIN) -> subprocess.CompletedProcess[str]:
    """Run `msinet ...` with its standard output in `out`."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment(folder, MSINET_WORKSPACE=str(folder / "workspace")),
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("plan", "demo"), ("--help",)])
def test_a_verb_that_only_prints_fails_if_it_cannot(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        ended = printing_to(full, *arguments, folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "warning: not everything could be printed: No space left on device (standard output).\n"


def test_a_verb_that_works_tells_its_state_on_a_full_disk(
    finished: tuple[Plan, Workspace], tiny: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(str(finished[1].root), tmp_path / "workspace")
    with open("/dev/full", "w") as full:
        ended = printing_to(full, "prepare", write(tmp_path, tiny), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_reader_of_a_pipe_may_leave(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = printing_to(writer, "plan", "demo", folder=tmp_path)
    os.close(writer)
    assert ended.returncode in (0, 1)
    assert ended.stderr == ""


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_stream_may_be_closed(tmp_path: Path, closed: str) -> None:
    for experiment, code in (("demo", 0), ("nothing", 2)):
        ended = subprocess.run(
            ["bash", "-c", f'"$@" {closed}>&-', "-", sys.executable, "-c", MAIN, "plan", experiment],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert ended.returncode == code
        assert "Traceback" not in ended.stderr


def test_the_current_folder_may_be_deleted(tmp_path: Path) -> None:
    script = f'mkdir "{tmp_path}/gone" && cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "$@"'
    for arguments, code in ((["plan", "demo"], 0), (["plan", "demo", "--workspace", "relative"], 2)):
        ended = subprocess.run(
            ["bash", "-c", script, "-", sys.executable, "-c", MAIN, *arguments],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        assert ended.stderr == code // 2 * (
            "error: the current folder must exist, but it was deleted: change to another folder.\n"
        )


def test_nothing_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print("a\x1b[31m\tb\r\u202e\nü ± → 行\u3000人", file=Output(sys.stdout))
    assert capsys.readouterr().out == "a\\x1b[31m\tb\\r\\u202e\nü ± → 行\u3000人\n"
    Output(sys.stdout).write("\x1b[0m")  # what a library writes at the end, when all colours end
    assert capsys.readouterr().out == "\x1b[0m"


@pytest.mark.parametrize("experiment", ["a\x1b[31m.yaml", "a\nerror: all is lost.yaml"])
def test_a_wrong_name_of_a_file_controls_no_terminal(tmp_path: Path, experiment: str) -> None:
    ended = msinet("plan", experiment, folder=tmp_path)
    assert ended.returncode == 2
    assert "\x1b" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_an_interrupt_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.grid, "open_grid", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["plan", "demo"])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error == ("interrupted: everything that is finished is kept. Run the same command again to continue.\n")


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "demo"], ["run"]])
@pytest.mark.parametrize("package", ["typer", "pydantic", "yaml"])
def test_without_the_extra_one_sentence_names_it(tmp_path: Path, arguments: list[str], package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; {MAIN}"
    ended = printing_to(subprocess.PIPE, *arguments, folder=tmp_path, code=code)
    if package == "typer" or arguments != ["--help"]:
        assert ended.returncode == 2
        assert ended.stderr == (
            f"error: the command msinet needs the package `{package}`, which is not installed: install msinet with its "
            "extra `pipeline` (pip install 'msinet[pipeline]').\n"
        )
    else:
        assert ended.returncode == 0, "the help needs no other package"


def test_experiments_that_come_with_msinet_have_names(tmp_path: Path) -> None:
    by_name, default = msinet("plan", "demo", folder=tmp_path), msinet("plan", folder=tmp_path)
    by_path = msinet("plan", ROOT / "configs" / "demo.yaml", folder=tmp_path)
    assert by_name.returncode == 0
    assert by_name.stdout == default.stdout == by_path.stdout
    (tmp_path / "demo").write_text("[]")
    assert msinet("plan", "demo", folder=tmp_path).returncode == 2, "a file of the user's goes first"
    assert "mini-splits" in msinet("check", "mini/splits", folder=tmp_path).stdout


def test_a_line_that_cannot_be_printed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        out = Output(full)
        monkeypatch.setattr(sys, "stdout", out)
        say("x" * 100_000)
        assert out.lost is not None
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
