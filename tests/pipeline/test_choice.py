"""`--until` and `--only` choose a part of a plan, with everything that it needs."""

from typing import Any

import pytest

from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.choice import chosen
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan

DATA = {"prepare street"}
SEARCH = {*DATA, "search street 60-80 seed 0"}
FOUND = "retrain street 60-80 seed 0 in_domain seed 0"


@pytest.fixture
def whole(tiny: dict[str, Any]) -> Plan:
    """Return a plan with one search and the retrainings of two genotypes."""
    return plan(Experiment.model_validate({**tiny, "genotypes": ["MSINet"]}))


@pytest.mark.parametrize(
    ("until", "only", "names"),
    [
        ("prepare", [], {*DATA, "prepare campus"}),
        ("search", [], SEARCH),
        ("retrain", [], {*SEARCH, FOUND, "retrain street MSINet in_domain seed 0"}),
        (None, ["search"], SEARCH),
        (None, ["retrain street MSINet"], {*DATA, "retrain street MSINet in_domain seed 0"}),
        (None, ["retrain*60-80*"], {*SEARCH, FOUND}),
        (None, ["retrain street MSINet", FOUND], {*SEARCH, FOUND, "retrain street MSINet in_domain seed 0"}),
    ],
)
def test_a_part_holds_what_it_needs(whole: Plan, until: str | None, only: list[str], names: set[str]) -> None:
    part = chosen(whole, until, only)
    assert part.stages.keys() == names
    assert all(part.stages[name] is whole.stages[name] for name in names), "results appear in the whole plan too"


def test_without_a_wish_all_stages_are_chosen(whole: Plan) -> None:
    assert chosen(whole).stages == whole.stages


@pytest.mark.parametrize(
    ("until", "only", "sentence"),
    [
        ("serach", [], "Did you mean `search`"),
        ("measure", [], "prepare, search, retrain, evaluate, but got 'measure'"),
        (None, ["zebra"], "plan EXPERIMENT --all"),
        (None, ["retrain street 60-80 seed 0 in_domain seed 1"], f"Did you mean `{FOUND}`"),
        ("prepare", ["retrain"], "`--only` must name stages"),
    ],
)
def test_a_wish_that_no_stage_fulfils_is_told(whole: Plan, until: str | None, only: list[str], sentence: str) -> None:
    with pytest.raises(RequestError) as told:
        chosen(whole, until, only)
    assert sentence in str(told.value)
