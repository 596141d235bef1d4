"""What the section `tune` of an experiment may ask for, and what is said of a wrong one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from support.tuning import RETRAIN, TUNE, document, tuned

from pipeline.cli import main
from pipeline.config.describe import describe_errors
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace
from pipeline.tuning.outer import Outer
from pipeline.tuning.storage import open_storage


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"space": {"retrain": {"lrr": [1, 2]}}}, "`lrr` is not a setting of a retraining recipe. Did you mean `lr`?"),
        ({"space": {"retrain": {"lr": {"low": 1, "high": 0.1}}}}, "low < high, but got 1.0 and 0.1"),
        ({"space": {"retrain": {"lr": {"low": 0, "high": 1, "log": True}}}}, "must start above 0"),
        ({"space": {"retrain": {"lr": {"low": -1, "high": 1}}}}, "`lr` must be positive"),
        ({"space": {"retrain": {"epochs": {"low": 1, "high": 5}}}}, "`epochs` must be given as a list"),
        ({"space": {"retrain": {"alignment": ["none", "pos_nag"]}}}, "'pos_nag'"),
        ({"space": {"retrain": {"batch_size": [9]}}}, "`batch_size` must be a multiple of `num_instances`"),
        ({"space": {"retrain": {"lr": []}}}, "at least one value"),
        ({"space": {}}, "a space must hold"),
        ({"spice": {}}, "unknown key `tune.spice`. Did you mean `space`?"),
        ({"source": "campus"}, "`tune.source` must be one of `sources`, but got 'campus'"),
        ({"genotype": None}, "`genotype` must be given if `space.genotype` is not true"),
        ({"genotype": "MSINett"}, "MSINett"),
        ({"objectives": ["latency_ms"]}, "objectives must contain mAP"),
        ({"objectives": ["mAP", "parameters"]}, "`space.genotype` must be true"),
        ({"constraints": {"latency_ms": 5}}, "`space.genotype` must be true"),
        (
            {"space": {"genotype": True}, "objectives": ["mAP", "parameters"], "asha": {"grace_epochs": 1}},
            "with `asha` mAP must be the only objective, but got mAP, parameters",
        ),
        ({"asha": {"grace_epochs": 2}}, "less than the recipe's epochs, but got 2 and 2"),
        (
            {"asha": {"grace_epochs": 1}, "space": {"retrain": {"epochs": [1, 2]}}},
            "all trials must have the same `epochs`",
        ),
    ],
)
def test_a_wrong_section_is_told(tiny: dict[str, Any], change: dict[str, Any], sentence: str) -> None:
    wrong = document(tiny, **change)
    with pytest.raises(ValidationError) as error:
        Experiment.model_validate(wrong)
    assert sentence in "\n".join(describe_errors(error.value, wrong))


def test_an_experiment_may_be_nothing_but_an_outer_loop(tiny: dict[str, Any]) -> None:
    experiment = tuned(tiny)
    assert [stage.kind for stage in plan(experiment).stages.values()] == ["prepare"], "`run` leaves it alone"


def test_a_password_is_never_shown(tiny: dict[str, Any], tmp_path: Path) -> None:
    url = "postgresql://me:secret@nowhere.invalid/studies"
    experiment = tuned(tiny, storage=url)
    assert "secret" not in str(experiment) + str(experiment.model_dump(mode="json"))
    with pytest.raises(RequestError) as error:
        open_storage(url)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_workspace_on_s3_needs_a_place_for_the_study(tiny: dict[str, Any], workspace: Workspace) -> None:
    workspace.root = None
    with pytest.raises(RequestError, match="needs a place of its own"):
        Outer(tuned(tiny), workspace, print).load()


def test_a_journals_path_starts_at_the_file(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(document(tiny, storage="studies/mine.log")))
    loaded = load_experiment(path)
    assert loaded.tune is not None
    assert loaded.tune.storage is not None
    assert loaded.tune.storage.get_secret_value() == str(tmp_path / "studies" / "mine.log")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tune": None}, "must have a section `tune`"),
        ({"tune": {**TUNE, **RETRAIN, "hold_out": 80}}, "a batch needs 4 identities, but 'street' has 2"),
        ({"tune": {**TUNE, **RETRAIN, "hold_out": 10}}, "raise `tune.hold_out`"),
    ],
)
def test_a_wrong_request_ends_with_2(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({**tiny, **change}))
    with pytest.raises(SystemExit) as ended:
        main(["tune", str(path), "--workspace", str(tmp_path / "workspace")])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
