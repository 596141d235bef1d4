"""The real command line runs whole grids in a subprocess: what it prints, and its exit code."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.command_line import MAIN, environment, kill, manifest, msinet, printed_commands, start, write


def test_a_grid_from_start_to_end(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["datasets"]["mine"] = {"kind": "manifest", "path": str(manifest(tmp_path / "mine"))}
    tiny["sources"], tiny["targets"], tiny["splits"] = ["mine"], ["mine", "street"], ["60-80", "50-50"]
    path = write(tmp_path, tiny)

    before = msinet("plan", path, folder=tmp_path)
    assert before.returncode == 0
    assert "pending" in before.stdout
    assert not (tmp_path / "workspace").exists(), "planning writes nothing"

    prepared = msinet("prepare", path, folder=tmp_path)
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert "2 done" in prepared.stdout.splitlines()[-3]
    assert printed_commands(prepared.stdout).keys() == {"run"}, "the next step"
    ran = msinet(path, folder=tmp_path, script=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "checking the 56 pictures of mine" in prepared.stdout
    assert "checking" not in ran.stdout, "once, until they change"
    assert "stages: " in ran.stdout
    assert "0 failed" in ran.stdout
    assert "in-domain" in ran.stdout
    assert "msinet report" in ran.stdout

    again = msinet("run", path, folder=tmp_path)
    assert again.returncode == 0
    assert "everything is done already" in again.stdout

    after = msinet("plan", path, "--all", folder=tmp_path)
    assert {line.split()[-2] for line in after.stdout.split("kind")[0].splitlines()[2:] if line} == {"done"}
    report = msinet("report", path, folder=tmp_path)
    assert report.returncode == 0
    assert "mine: mAP / rank-1" in report.stdout
    assert report.stdout.strip() in ran.stdout, "the run ends with the same table"
    synced = msinet("sync", path, folder=tmp_path)
    assert synced.returncode == 0, synced.stderr
    assert "MLflow shows" in synced.stdout


def test_a_stage_that_fails_later_gives_exit_code_1(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["splits"], tiny["genotypes"], tiny["targets"] = [], ["MSINet"], ["street"]
    tiny["retrain"]["in_domain"]["lr"] = 1e30
    path = write(tmp_path, tiny)
    ended = msinet("run", path, folder=tmp_path)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "FAILED  retrain street MSINet in_domain seed 0: the losses must stay finite" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("not done     ")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    status = msinet(*printed_commands(ended.stdout)["status"], folder=elsewhere)
    assert "failed: retrain street MSINet in_domain seed 0" in status.stdout
    assert "the losses must stay finite" in status.stdout
    assert "  traceback:\n    Traceback (most recent call last):" in status.stdout
    assert "require_finite" in status.stdout


@pytest.mark.parametrize(("lr", "code"), [(0.01, 0), (1e30, 1)])
def test_on_a_full_disk_the_exit_code_tells_the_state(
    tiny: dict[str, Any], tmp_path: Path, lr: float, code: int
) -> None:
    tiny["splits"], tiny["genotypes"], tiny["targets"] = [], ["MSINet"], ["street"]
    tiny["retrain"]["in_domain"]["lr"] = lr
    env = environment(tmp_path, MSINET_WORKSPACE=str(tmp_path / "workspace"))
    arguments = ["run", str(write(tmp_path, tiny))]
    with open("/dev/full", "wb") as full, (tmp_path / "errors").open("wb") as errors:
        ended = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments], env=env, stdout=full, stderr=errors, timeout=280
        )
    told = (tmp_path / "errors").read_text()
    assert ended.returncode == code, told
    assert "Traceback" not in told
    assert "No space left on device (standard output)" in told
    assert len(list((tmp_path / "workspace").glob("stages/evaluate/*/result.json"))) == 1 - code


def test_an_interrupt_ends_with_a_sentence(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["splits"], tiny["genotypes"], tiny["targets"] = [], ["MSINet"], ["street"]
    tiny["retrain"]["in_domain"]["epochs"] = 10_000
    path, out = write(tmp_path, tiny), tmp_path / "out.txt"
    env = environment(tmp_path, MSINET_WORKSPACE=str(tmp_path / "workspace"))
    process = start(["run", str(path)], tmp_path, env, out)
    try:
        deadline = time.monotonic() + 200
        while "epoch " not in out.read_text():
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < deadline, out.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
    finally:
        kill(process)
    told = out.read_text()
    assert "1 running" in told
    assert "        retrain street MSINet in_domain seed 0: " in told
    assert "left in all" in told
    assert "interrupted: everything that is finished is kept. Run the same command again to continue." in told
    assert "Traceback" not in told


def test_a_stage_that_no_machine_can_hold_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {"image_size": [2048, 2048], "search": {"batch_size": 65_536, "num_instances": 32_768}}
    path = write(tmp_path, tiny)
    ended = msinet("run", path, folder=tmp_path)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "a stage must fit into the memory of this machine, but `search street 60-80 seed 0` needs " in ended.stderr
    assert "lower search.batch_size or image_size, or set search.precision to bf16." in ended.stderr
    assert "Traceback" not in ended.stderr
