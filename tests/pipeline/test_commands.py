"""Every command that is printed as the next step does what was promised, in any folder."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.command_line import ROOT, environment, kill, manifest, printed_commands, start
from support.grids import run_without_ray, tiny_document
from support.mlflow_server import free_port, wait_for_pages

from pipeline.cli import main
from pipeline.cli.options import command, experiment_file, lacking_results, same_results, tracking_note, tracking_option
from pipeline.paths import JOB_VARIABLE
from pipeline.storage.workspace import Workspace

MISSING = "http://127.0.0.1:9"  # the discard port: nobody listens
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """Return the file of an experiment, its finished workspace, and an environment in which `msinet` is a program."""
    folder = tmp_path_factory.mktemp("my grid")  # a name that a shell splits
    file = folder / "experiment.yaml"
    document = {**tiny_document(), "splits": [], "genotypes": ["MSINet"], "targets": ["street"]}
    file.write_text(yaml.safe_dump(document))
    run_without_ray(document, Workspace(folder / "workspace"))
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "msinet"
    program.write_text(f"#!{sys.executable}\nfrom pipeline.cli import main\nmain()\n")
    program.chmod(0o755)
    return file, folder / "workspace", environment(folder, PATH=f"{programs}:{os.environ['PATH']}")


@pytest.fixture
def run(grid: tuple[Path, Path, dict[str, str]]) -> Run:
    """Return a function that runs a command line in a folder, with variables added to the environment."""

    def run(words: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=folder, env={**grid[2], **more}, capture_output=True, text=True, timeout=280, check=False
        )

    return run


@pytest.mark.parametrize("named", ["absolute", "relative", "from another folder"])
def test_every_printed_command_runs_from_any_folder(
    grid: tuple[Path, Path, dict[str, str]], run: Run, tmp_path: Path, named: str
) -> None:
    file, workspace, _ = grid
    folder = file.parent if named == "relative" else tmp_path
    path = {"absolute": file, "relative": file.name, "from another folder": os.path.relpath(file, tmp_path)}[named]
    place = workspace.name if named == "relative" else str(workspace)
    ran = run(["msinet", "run", str(path), "--workspace", place, "--tracking-uri", MISSING], folder)
    assert ran.returncode == 0, ran.stderr
    by_verb = printed_commands(ran.stdout)
    assert by_verb.keys() == {"sync", "report"}, ran.stdout
    assert MISSING in ran.stdout.splitlines()[-1], "where MLflow's pages are"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    report = run(["msinet", *by_verb["report"]], elsewhere)
    assert report.returncode == 0, report.stderr
    assert report.stdout.strip() in ran.stdout, "the same table"
    synced = run(["msinet", *by_verb["sync"]], elsewhere)
    assert synced.returncode == 2, "the server that lacks the results is asked again, and is still away"
    assert "127.0.0.1" in synced.stderr
    assert not list(elsewhere.iterdir())


def test_the_command_that_shows_mlflows_pages_runs(
    grid: tuple[Path, Path, dict[str, str]], run: Run, tmp_path: Path
) -> None:
    file, _, env = grid
    workspace = tmp_path / "a workspace"
    shutil.copytree(grid[1], workspace)
    ran = run(["msinet", "run", str(file)], tmp_path, MSINET_WORKSPACE="a workspace")  # for this command only
    assert ran.returncode == 0, ran.stderr
    port = free_port()
    process = start(
        [*printed_commands(ran.stdout)["ui"], "--port", str(port)], tmp_path.parent, env, tmp_path / "out.txt"
    )
    try:
        wait_for_pages(port, process, tmp_path / "out.txt")
    finally:
        kill(process)


def main_prints(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    return told.out


@pytest.mark.parametrize("state", ["begun", "done"])
def test_the_next_step_that_a_verb_prints_runs_from_any_folder(
    grid: tuple[Path, Path, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
) -> None:
    document, file, elsewhere = yaml.safe_load(grid[0].read_text()), tmp_path / "my cars.yaml", tmp_path / "elsewhere"
    file.write_text(yaml.safe_dump({**document, "retrain_seeds": [0, 1] if state == "begun" else [0]}))
    elsewhere.mkdir()
    for verb in ("plan", "status", "check", "prepare"):
        monkeypatch.chdir(tmp_path)
        told = main_prints(capsys, [verb, file.name, "--workspace", str(grid[1])])
        ((following, words),) = printed_commands(told).items()
        assert following == {"begun": "run", "done": "report"}[state]
        monkeypatch.chdir(elsewhere)
        # `run` would train, so `plan` gets its words.
        assert main_prints(capsys, ["plan" if following == "run" else following, *words[1:]])
    assert not list(elsewhere.iterdir())


def test_the_next_step_of_a_part_is_that_part(
    grid: tuple[Path, Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(grid[0].read_text()), "genotypes": ["MSINet", "MSINet-S"]}))
    part = ["--until", "retrain", "--only", "retrain street MSINet-S"]
    told = main_prints(capsys, ["plan", str(file), "--workspace", str(grid[1]), *part])
    assert printed_commands(told)["run"][-4:] == part
    told = main_prints(capsys, ["plan", "mini/tune", "--workspace", str(grid[1])])
    assert printed_commands(told)["tune"][1] == "mini/tune"
    told = main_prints(capsys, ["plan", "lab/race", "--workspace", str(grid[1])])
    assert printed_commands(told)["race"][1] == "lab/race"


def test_data_that_was_checked_begins_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest(tmp_path / "cars")
    monkeypatch.chdir(tmp_path)
    told = main_prints(capsys, ["check", "--data", "manifest=cars"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    begun = main_prints(capsys, printed_commands(told)["init"])
    assert main_prints(capsys, [*printed_commands(begun)["check"], "--workspace", str(tmp_path / "workspace")])


def test_a_quiet_run_prints_the_table_alone(
    grid: tuple[Path, Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(grid[0]), "--workspace", str(grid[1])]
    quiet = main_prints(capsys, ["run", *words, "--quiet", "--tracking-uri", MISSING])
    assert quiet.startswith("MLflow lacks results ("), "a failure"
    assert quiet.partition("\n")[2].strip() == main_prints(capsys, ["report", *words]).strip()
    assert main_prints(capsys, ["prepare", *words, "-q"]) == ""


def test_the_commands_in_a_report_run(grid: tuple[Path, Path, dict[str, str]], run: Run, tmp_path: Path) -> None:
    file, workspace, _ = grid
    wider = tmp_path / "wider.yaml"
    wider.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "retrain_seeds": [0, 1]}))
    written = run(["msinet", "report", "wider.yaml", "--workspace", str(workspace), "--out", "page"], tmp_path)
    assert written.returncode == 0, written.stderr
    words = printed_commands((tmp_path / "page" / "report.md").read_text())["run"]
    planned = run(["msinet", "plan", *words[1:]], tmp_path.parent)  # `run` with these words would train
    assert planned.returncode == 0, planned.stderr
    assert re.search(r"^retrain +2 +1 +1 ", planned.stdout, re.MULTILINE), "the same experiment in the same workspace"


def test_a_command_says_what_is_needed_to_find_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = same_results("/ws", ["mine=data/my pictures"], ["MSINet=/w.pth"])
    assert shlex.split(command("report", Path("x.yaml"), options))[1:] == [
        *("report", f"{tmp_path}/x.yaml", "--workspace", "/ws"),
        *("--data", f"mine={tmp_path}/data/my pictures", "--weights", "MSINet=/w.pth"),
    ]


def test_in_a_job_the_projects_own_experiments_are_named_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job runs in a copy of the project that Ray removes."""
    mine = ROOT / "mine" / "x.yaml"
    assert shlex.split(command("report", mine, []))[-1] == str(mine)
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    assert command("report", mine, []) == "msinet report mine/x.yaml"
    assert command("report", Path("/data/x.yaml"), []) == "msinet report /data/x.yaml"


def test_an_experiment_that_comes_with_msinet_is_named_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (ROOT / "configs" / "paper" / "table7.yaml", ROOT / "pipeline" / "configs" / "paper" / "table7.yaml"):
        name = shlex.split(command("report", file, []))[-1]
        assert name == "paper/table7"
        assert experiment_file(name).samefile(file)


def test_a_program_outside_the_path_is_named_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "bin" / "msinet"
    installed.parent.mkdir()
    monkeypatch.setattr(sys, "executable", str(installed.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("ui", None, []) == "msinet ui", "there is none beside this interpreter"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    assert command("ui", None, []) == f"{installed} ui"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert command("ui", None, []) == "msinet ui"


@pytest.mark.parametrize(
    "secret", ["http://user:pass@host:1", "postgresql://user:pass@host/db", "postgresql://host/db?password=pass"]
)
def test_a_password_is_not_printed(workspace: Workspace, secret: str) -> None:
    assert tracking_option(secret) == []
    line = lacking_results("it was away.", Path("/x.yaml"), workspace, [], secret)
    assert "pass@" not in line
    assert "=pass" not in line
    assert line.endswith(tracking_note(secret))
    assert "as before" in line


def test_no_command_is_recommended_that_cannot_succeed(tmp_path: Path, s3_address: str) -> None:
    on_s3, reason = Workspace(s3_address), "a workspace on S3 needs a tracking server, but none was given"
    assert lacking_results(reason, Path("/x.yaml"), on_s3, [], None) == f"MLflow lacks results ({reason})."
    assert "msinet sync /x.yaml" in lacking_results(reason, Path("/x.yaml"), on_s3, [], "http://host:1")
    assert "msinet sync /x.yaml" in lacking_results(reason, Path("/x.yaml"), Workspace(tmp_path), [], None)
