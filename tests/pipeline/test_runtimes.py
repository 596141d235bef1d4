"""Evaluations and measurements in other runtimes than PyTorch."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.exports import LIBRARIES, WITHOUT_EXTRA
from support.grids import done, failed, made, quiet, task_of

from msinet.engine.measure import device_name
from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import EMBEDDING
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Result
from pipeline.stages.attempt import execute
from pipeline.storage.workspace import Workspace


@pytest.fixture
def libraries() -> None:
    for name in LIBRARIES:
        pytest.importorskip(name, reason=WITHOUT_EXTRA)


@pytest.fixture
def trained(finished: tuple[Plan, Workspace], tmp_path: Path) -> Workspace:
    """Return a workspace with the data, the searches and the trainings of the finished one, without evaluations."""
    root = finished[1].root
    assert root is not None
    stages = tmp_path / "trained" / "stages"
    stages.mkdir(parents=True)
    for kind in ("prepare", "search", "retrain"):
        (stages / kind).symlink_to(root / "stages" / kind)
    return made(tmp_path / "trained")


def planned(document: dict[str, Any], workspace: Workspace, **settings: Any) -> Plan:
    return plan(Experiment.model_validate(document | settings), lookup=workspace.result)


def ran(built: Plan, stage: Stage, workspace: Workspace) -> Result:
    return done(execute(workspace.address, task_of(stage, built), quiet))


@pytest.mark.parametrize(("kind", "setting"), [("measure", "runtime"), ("evaluate", "evaluation_runtime")])
@pytest.mark.parametrize(("runtime", "settings"), [("torch", {}), ("openvino", {"runtime": "openvino"})])
def test_a_runtime_is_a_part_of_a_stage_only_if_it_is_not_torch(
    tiny: dict[str, Any], kind: str, setting: str, runtime: str, settings: dict[str, str]
) -> None:
    document = tiny | {"genotypes": ["MSINet"], "measure": True, "selection": {"hold_out": 40}, setting: runtime}
    stages = list(plan(Experiment.model_validate(document)).stages.values())
    for stage in stages:
        expected = settings if stage.kind == kind else {}
        assert {name: value for name, value in stage.settings.items() if name == "runtime"} == expected
    assert sum(stage.kind == kind for stage in stages) > 1


@pytest.mark.usefixtures("libraries")
def test_an_evaluation_gives_the_same_embeddings_in_another_runtime(
    tiny: dict[str, Any], finished: tuple[Plan, Workspace], trained: Workspace
) -> None:
    built = planned(tiny, trained, evaluation_runtime="onnxruntime")
    before, after = next(finished[0].of_kind("evaluate")), next(built.of_kind("evaluate"))
    assert before.result is not None
    assert (after.name, after.needs) == (before.name, before.needs)
    assert after.key != before.key
    result = ran(built, after, trained)
    places = (finished[1].files(before.result), trained.files(result))
    embeddings = [load_file(place / EMBEDDING)["embedding_ND"] for place in places]
    assert not torch.equal(*embeddings), "the other runtime did it"
    torch.testing.assert_close(*embeddings, atol=1e-5 * float(embeddings[0].abs().max()), rtol=1e-4)
    assert result["metrics"].keys() == before.result["metrics"].keys()


@pytest.mark.usefixtures("libraries")
def test_a_measurement_runs_in_its_runtime(tiny: dict[str, Any], workspace: Workspace) -> None:
    settings: dict[str, Any] = {"splits": [], "targets": [], "genotypes": ["MSINet"], "measure": True}
    figures = {}
    for name in ("torch", "openvino"):
        built = planned(tiny, workspace, **settings, runtime=name)
        built.name_device(device_name(torch.device("cpu")))
        built.resolve(workspace.result)
        stage = next(stage for stage in built.of_kind("measure") if stage.settings["network"] == "msinet")
        figures[name] = ran(built, stage, workspace)["metrics"]
    same = ("parameters", "gmacs", "batch_size")
    assert {name: figures["openvino"][name] for name in same} == {name: figures["torch"][name] for name in same}
    assert figures["openvino"]["latency_ms"] > 0


@pytest.mark.parametrize(
    "settings", [{"evaluation_runtime": "openvino"}, {"runtime": "openvino", "measure": True, "targets": []}]
)
def test_a_runtime_that_is_not_installed_is_one_sentence_before_anything_runs(
    tiny: dict[str, Any],
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny | settings))
    with pytest.raises(SystemExit) as end:
        main(["run", str(path), "--workspace", str(tmp_path / "workspace")])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "`openvino` is needed, but is not installed: pip install 'msinet[export]'" in said
    assert f"({next(iter(settings))})" in said


def test_a_runtime_that_is_gone_when_the_stage_runs_fails_for_good(
    tiny: dict[str, Any], trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    built = planned(tiny, trained, evaluation_runtime="openvino")
    failure = failed(execute(trained.address, task_of(next(built.of_kind("evaluate")), built), quiet))
    assert "`openvino` is needed" in failure.message
    assert not failure.retry
