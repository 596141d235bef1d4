"""Stages that do not fit into the machine's memory together run one after another."""

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.cluster import driver
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE
from pipeline.config.experiment import Experiment
from pipeline.plan.unfold import plan
from pipeline.results import Done
from pipeline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


def counting(folder: Path) -> Any:
    """Return a remote function that trains for a while, and notes in a folder how many do so at once."""

    @ray.remote(max_retries=0)
    def run(address: str, task: Any, board: Any, holder: str) -> Any:
        board.post.remote(task.key, time.time())
        if task.kind == "retrain":
            own = folder / f"running-{task.key}"
            own.touch()
            for _ in range(10):
                at_once = len(list(folder.glob("running-*")))
                (folder / f"seen-{at_once}-{uuid.uuid4().hex}").touch()
                time.sleep(0.1)
            own.unlink()
        return Done({"key": task.key, **dict.fromkeys(("fingerprint", "train_fingerprint", "protocol"), "pretended")})

    return run


@pytest.mark.parametrize(("part", "at_once"), [(0.3, 2), (0.6, 1)])
def test_the_second_stage_waits_for_memory(
    tiny: dict[str, Any],
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: float,
    at_once: int,
) -> None:
    tiny |= {"splits": [], "genotypes": ["MSINet"], "targets": ["street"], "retrain_seeds": [0, 1, 2, 3]}
    planned = plan(Experiment.model_validate(tiny))
    memory = ray.cluster_resources()["memory"]
    monkeypatch.setattr(driver, "reserved_memory", lambda plan: {"retrain": int(part * memory)})
    outcome = run_plan(planned, workspace, [], counting(tmp_path))
    assert set(outcome.states.values()) == {DONE}
    assert max(int(path.name.split("-")[1]) for path in tmp_path.glob("seen-*")) == at_once
