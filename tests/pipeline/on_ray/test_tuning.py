"""An outer loop on a real Ray measures on a free machine, and goes on after its driver was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import ROOT
from support.tuning import document

from pipeline.config.experiment import Experiment
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace
from pipeline.tuning.outer import Outer
from pipeline.tuning.storage import open_storage


@pytest.mark.timeout(150)
def test_a_latency_is_measured_although_the_trial_before_took_the_whole_machine(
    tiny: dict[str, Any], workspace: Workspace, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tuning.outer.connect", lambda *arguments: None)
    section = {"objectives": ["mAP", "latency_ms"], "space": {"genotype": True}, "trials": 2}
    experiment = Experiment.model_validate({**document(tiny, **section), "resources": {"retrain": {"cpus": 2}}})
    said: list[str] = []
    outer = Outer(experiment, workspace, said.append)
    outer.check()
    before = signal.getsignal(signal.SIGINT)
    assert outer.run(None) is None
    assert [trial.state.name for trial in outer.study.trials] == ["COMPLETE"] * 2, said
    assert [trial.values[1] > 0 for trial in outer.study.trials] == [True] * 2
    assert signal.getsignal(signal.SIGINT) is before, "what Tune did to it does not outlast it"


def test_a_killed_driver_goes_on_to_exactly_its_trials(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["retrain"]["in_domain"]["epochs"] = 12  # long enough to be killed in the middle
    path, workspace = tmp_path / "experiment.yaml", Workspace(tmp_path / "workspace")
    assert workspace.root is not None
    resources = {"lease_seconds": 2}
    path.write_text(yaml.safe_dump({**document(tiny, trials=3), "checkpoint_every": 0, "resources": resources}))
    script = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", script, "tune", str(path), "--workspace", workspace.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:  # until the first trial is done and the second has begun
            done = list(workspace.root.glob(f"stages/evaluate/*/{RESULT}"))
            if done and list(workspace.root.glob(f"stages/retrain/*/attempts/*/{CHECKPOINT}")):
                break
            assert run.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    before = {path: path.read_bytes() for path in workspace.root.glob(f"stages/*/*/{RESULT}")}
    again = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert again.returncode == 0, again.stdout + again.stderr

    storage = open_storage(str(workspace.root / "tune" / "tiny" / "journal.log"))
    import optuna

    trials = optuna.load_study(study_name="tiny", storage=storage).trials
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert {path: path.read_bytes() for path in before} == before, "what was done is not done again"
    published = [len(list(workspace.root.glob(f"stages/{kind}/*/{RESULT}"))) for kind in ("retrain", "evaluate")]
    assert published == [3, 3]
    attempts = [len(list(folder.glob("attempts/*"))) for folder in workspace.root.glob("stages/retrain/*")]
    assert sorted(attempts) == [1, 1, 2], "one was killed, and continued"
    assert "best trials of 3 trials (3 complete)" in again.stdout
    best = max(trial.values[0] for trial in trials)
    assert f"{100 * best:.1f}" in again.stdout

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace.root / 'mlflow.db'}")
    found = client.get_experiment_by_name("tiny")
    assert found is not None
    runs = client.search_runs([found.experiment_id], "tags.kind = 'evaluate'")
    assert sorted(float(run.data.metrics["mAP"]) for run in runs) == sorted(trial.values[0] for trial in trials)
    assert {run.data.tags["domain"] for run in runs} == {"held_out"}
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    shown = {file.path for file in client.list_artifacts(parent, "tune")}
    assert {"tune/front.csv", "tune/trials.png", "tune/retrain.yaml"} <= shown
