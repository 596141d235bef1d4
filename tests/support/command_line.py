"""The command line runs in processes of its own, as a user of the repository starts it."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
MAIN = "from pipeline.cli import main; main()"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return a user's environment: no word about Ray's authentication, and a home and a cache of one's own."""
    plain = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    own = {"HOME": str(folder), "MSINET_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return {**plain, **own, **more}


def msinet(*arguments: str | Path, folder: Path, script: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `msinet ...` (or `python pipeline/run_grid.py ...`) from `folder` to its end, with a workspace there.

    Further named arguments are environment variables.
    """
    command = [str(ROOT / "pipeline" / "run_grid.py")] if script else ["-c", MAIN]
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        cwd=folder,
        env=environment(folder, MSINET_WORKSPACE=str(folder / "workspace"), **more),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def start(arguments: list[str], folder: Path, env: dict[str, str], out: Path) -> subprocess.Popen[bytes]:
    """Start `msinet ...` from `folder`; what it prints goes into `out`.

    Ctrl-C reaches it, also if these tests run in the background, where shells have it ignored.
    """
    command = [sys.executable, "-c", MAIN, *arguments]
    with out.open("wb") as file:
        return subprocess.Popen(
            command, cwd=folder, env=env, stdout=file, stderr=subprocess.STDOUT, preexec_fn=_heed_interrupts
        )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def members(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if it has not ended."""
    for member in reversed(members(process.pid)):
        member.kill()
    process.wait(10)


def write(folder: Path, document: dict[str, Any]) -> Path:
    """Write an experiment's file into a folder, and return its path."""
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def manifest(folder: Path) -> Path:
    """Write a small dataset with a manifest into a folder, and return the folder."""
    from msinet.data import synthetic

    synthetic.write(synthetic.SyntheticSpec(train_ids=10, test_ids=4, height=32, cameras=2), folder)
    return folder


def printed_commands(output: str) -> dict[str, list[str]]:
    """Return the commands in what `msinet` has printed or written, as words without the program, by verb."""
    quoted = re.findall("`([^`]+)`", output)
    lines = re.findall(
        r"^(?:this table|compare|not done|the rest|next:|then:) +(.+?)(?:: (?:serves|shows|\d+ stages) .*)?$",
        output,
        re.MULTILINE,
    )
    words = [shlex.split(text) for text in [*quoted, *lines] if re.search(r"\bmsinet'? ", text)]
    assert all(program.rpartition("/")[2] == "msinet" for program, *_ in words)
    return {verb: [verb, *rest] for _, verb, *rest in words}
