"""The real command line runs whole grids in a subprocess: what it prints, and its exit code."""

from pathlib import Path
from typing import Any

from support.command_line import manifest, msinet, write


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
    assert "2 done" in prepared.stdout.splitlines()[-1]
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

    after = msinet("plan", path, folder=tmp_path)
    assert "to run " not in after.stdout.split("kind")[0]
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
    status = msinet("status", path, folder=tmp_path)
    assert "failed: retrain street MSINet in_domain seed 0" in status.stdout
    assert "the losses must stay finite" in status.stdout
    assert "  traceback:\n    Traceback (most recent call last):" in status.stdout
    assert "require_finite" in status.stdout
