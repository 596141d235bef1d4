"""The real command line in a subprocess: what it prints, and its exit code."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def msinet(*arguments: str | Path, folder: Path, script: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `msinet ...` (or `python pipeline/run_grid.py ...`) from `folder`, with a workspace there."""
    # As a user has it: no word about Ray's authentication, and a home of one's own for its token.
    plain = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"} | {"HOME": str(folder)}
    command = [str(ROOT / "pipeline" / "run_grid.py")] if script else ["-c", "from pipeline.cli import main; main()"]
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        cwd=folder,
        env={**plain, "MSINET_WORKSPACE": str(folder / "workspace"), "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def manifest(folder: Path) -> Path:
    from msinet.data import synthetic

    synthetic.write(synthetic.SyntheticSpec(train_ids=10, test_ids=4, height=32, cameras=2), folder)
    return folder


def test_help_names_the_verbs(tmp_path: Path) -> None:
    ended = msinet("--help", folder=tmp_path)
    assert ended.returncode == 0
    for verb in ("prepare", "plan", "run", "status", "report", "sync", "check", "ui"):
        assert verb in ended.stdout


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
