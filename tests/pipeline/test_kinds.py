"""Each kind of stage has all that the pipeline needs of it, and keys stay what they are."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.grids import tiny_document

from pipeline.config.experiment import Experiment
from pipeline.config.resources import Resources, Share
from pipeline.plan.kinds import CONTRIBUTION, KINDS
from pipeline.plan.unfold import plan
from pipeline.results import Result
from pipeline.stages.attempt import runner_of

STAGES = Path(__file__).parents[2] / "pipeline" / "stages"
SHARED = {"__init__", "attempt", "environment", "epochs", "inputs", "saved", "task", "whole"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_lacks_nothing(kind: str) -> None:
    assert callable(runner_of(kind)), f"pipeline/stages/{kind}.py must have a function `run`"
    assert isinstance(getattr(Resources(), kind, None), Share), f"Resources must have a share for {kind}"
    assert f"`{kind}`" in (STAGES / f"{kind}.py").read_text(encoding="utf-8").splitlines()[0]
    assert kind in str(Resources.__doc__)


def test_nothing_is_of_a_kind_that_is_not_in_the_table() -> None:
    assert {path.stem for path in STAGES.glob("*.py")} - SHARED == KINDS.keys()
    assert {name for name, field in Resources.model_fields.items() if field.annotation is Share} == KINDS.keys()


def test_a_role_is_of_one_kind() -> None:
    roles = [role for kind in KINDS.values() for role in kind.contribution]
    assert len(roles) == len(set(roles)) == len(CONTRIBUTION)


def test_every_stage_that_a_plan_holds_is_of_a_known_kind_and_needs_known_roles() -> None:
    more = {"genotypes": ["MSINet"], "measure": True, "figures": True, "rank": True, "random_genotypes": 1}
    document = tiny_document() | more
    stages = plan(Experiment.model_validate(document)).stages.values()
    assert {stage.kind for stage in stages} == KINDS.keys(), "the tiny experiment with all options has every kind"
    for stage in stages:
        for role, name in stage.needs.items():
            (kind,) = {other.kind for other in stages if other.name == name}
            assert role in KINDS[kind].contribution


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [("search", {}), ("evaluate", {"mAP": 0.5, "rank1": 0.75}), ("prepare", {})],
)
def test_an_outcome_is_one_line(kind: str, metrics: dict[str, float]) -> None:
    told = KINDS[kind].outcome({"genotype": "GGEGAGGNGAEA", "metrics": metrics})
    expected = {"search": ": GGEGAGGNGAEA", "evaluate": ": mAP 50.0 %, rank-1 75.0 %", "prepare": ""}
    assert told == expected[kind]


def answered(kind: str, key: str) -> Result:
    """A made-up result that depends on the key alone."""
    return {
        "key": key,
        "fingerprint": f"whole {key}",
        "train_fingerprint": f"train {key}",
        "protocol": "fixed",
        "genotype": "GGEGAGGNGAEA",
    }


def keys_of(document: dict[str, Any]) -> dict[str, str | None]:
    planned = plan(Experiment.model_validate(document), {"m": "fingerprint of m"}, answered)
    planned.name_device("a device")
    planned.resolve(answered)
    return {stage.name: stage.key for stage in planned.stages.values()}


def test_keys_stay_what_they_are() -> None:
    """A changed key here means that workspaces written before are not found again: raise the schema on purpose."""
    document = tiny_document() | {
        "genotypes": ["MSINet"],
        "networks": ["osnet"],
        "measure": True,
        "figures": True,
        "rank": True,
    }
    document["datasets"]["m"] = {"kind": "market1501"}
    document["sources"] = ["street", "m"]
    document["datasets"]["m"]["path"] = "/data/market"
    expected = yaml.safe_load((Path(__file__).parent / "keys.yaml").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(keys_of(document))) == expected
