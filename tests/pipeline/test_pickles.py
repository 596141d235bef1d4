"""Code that hides in a file of weights, or in a saved state, does not run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.command_line import environment, start
from support.grids import done, quiet, task_of, tiny_document

from msinet.engine.state import load_state
from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.stages.attempt import execute
from pipeline.storage.workspace import CHECKPOINT, Workspace


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def plant(path: Path, marker: Path, form: str) -> None:
    """Write a file that runs the payload when it is unpickled without care."""
    content = {"loop": Payload(marker), "history": []}
    if form == "torch":
        torch.save(content, path)
        torch.load(path, weights_only=False)
    else:
        path.write_bytes(pickle.dumps(content))
        pickle.loads(path.read_bytes())
    assert marker.is_dir(), "the trap works"
    marker.rmdir()


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_weights_that_would_run_code_are_refused(tmp_path: Path, form: str) -> None:
    weights, marker = tmp_path / "weights.pth", tmp_path / "marker"
    plant(weights, marker, form)
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "starts": ["pretrained"]}
    experiment, out = tmp_path / "experiment.yaml", tmp_path / "out.txt"
    experiment.write_text(yaml.safe_dump(document))
    place = ["--workspace", str(tmp_path / "workspace"), "--weights", f"MSINet={weights}"]
    process = start(["run", str(experiment), *place], tmp_path, environment(tmp_path), out)
    assert process.wait(200) == 2
    last = out.read_text().splitlines()[-1]
    assert last.startswith("error: ")
    assert "could run code when they are read" in last
    assert str(weights) in last
    assert "Traceback" not in out.read_text()
    assert not marker.exists()


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_saved_state_that_would_run_code_is_passed_over(
    finished: tuple[Plan, Workspace], workspace: Workspace, tmp_path: Path, form: str
) -> None:
    marker = tmp_path / "marker"
    planned = plan(Experiment.model_validate(tiny_document()))
    for name in ("prepare street", "search street 60-80 seed 0"):
        planned.resolve(workspace.result)
        stage = planned.stages[name]
        attempt = workspace.begin(stage.kind, str(stage.key))
        plant(attempt.folder / CHECKPOINT, marker, form)
        with pytest.raises(ValueError, match="must be whole and hold a dictionary of tensors and plain values only"):
            load_state(attempt.folder / CHECKPOINT)
        result = done(execute(workspace.address, task_of(stage, planned), quiet))
    assert not marker.exists()
    expected = next(finished[0].of_kind("search")).result
    assert expected is not None
    assert result["genotype"] == expected["genotype"], "as from the start"
    ours, theirs = (place.files(found) / WEIGHTS for place, found in ((workspace, result), (finished[1], expected)))
    assert ours.read_bytes() == theirs.read_bytes()
