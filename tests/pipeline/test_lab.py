"""The ready experiments of `configs/lab` can be planned."""

from pathlib import Path

import pytest

from pipeline.config.load import load_experiment
from pipeline.plan.memory import left_of, needs_of
from pipeline.plan.unfold import plan

LAB = sorted((Path(__file__).parents[2] / "configs" / "lab").glob("*.yaml"))


@pytest.mark.parametrize("path", LAB, ids=lambda path: path.stem)
def test_each_experiment_of_the_laboratory_plans_and_lacks_nothing(path: Path) -> None:
    experiment = load_experiment(path)
    built = plan(experiment)
    assert experiment.name == f"lab-{path.stem.replace('_', '-')}"
    assert any(built.of_kind("evaluate"))
    assert not [stage.name for stage in built.stages.values() if stage.lacks]
    assert needs_of(built, left_of(built)), "the memory of every stage can be computed, as `plan` and `run` do"
