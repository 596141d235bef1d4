"""The checklist of architecture search: what an experiment answers, and what it leaves open."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.filled import answer_all, filled

from pipeline.plan.stage import Plan, Stage
from pipeline.reports.checklist import checklist, checklist_panel
from pipeline.reports.write import content_of, write_report
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

RAN = {"code": "abc", "msinet": "1", "python": "3.11", "torch": "2.9", "numpy": "2.0", "device": "a processor"}


def answers(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return (answer, reason) by the first words of each practice."""
    return {" ".join(item.practice.split()[:3]): (item.answer, item.reason) for item in checklist(plan)}


def ran(stage: Stage) -> Result:
    return {**answer_all(stage), "seconds": 1800.0, "environment": RAN}


def test_a_finished_experiment_answers_from_its_results(finished: tuple[Plan, Workspace]) -> None:
    found = answers(finished[0])
    assert len(found) == 15, "the fourteen practices of the paper, and test data"
    assert found["The code of"][0] == "yes"
    assert found["The search states"][0] == found["The final training"][0] == "yes"
    assert found["Hardware and library"][0] == "yes"
    assert f"torch {torch.__version__}" in found["Hardware and library"][1]
    assert found["The time of"][0] == "yes"
    assert "search" in found["The time of"][1]
    assert found["Everything is repeated"] == (
        "no",
        "1 retraining seed, 1 search seed. Fewer than 3 show hardly any spread.",
    )
    assert found["The search is"][0] == found["Ablations show what"][0] == "no"
    assert found["How settings were"][0] == found["Methods are compared"][0] == "open"


def test_an_honest_experiment_is_told_so(tiny: dict[str, Any]) -> None:
    document = tiny | {
        "search_seeds": [0, 1, 2],
        "retrain_seeds": [0, 1, 2],
        "splits": ["60-80", "50-50"],
        "selection": {"hold_out": 25},
    }
    found = answers(filled(document, ran))
    assert found["Everything is repeated"] == ("yes", "3 retraining seeds, 3 search seeds.")
    assert found["Test data play"][0] == "yes"
    assert found["Ablations show what"] == (
        "partly",
        "Varied: 2 splits of the search. Whether these are the parts that matter is yours to say.",
    )
    assert found["All networks share"][0] == found["All networks are"][0] == "yes"


def test_results_of_two_machines_or_two_codes_are_named(tiny: dict[str, Any]) -> None:
    def mixed(stage: Stage) -> Result:
        changed = {"device": "a GPU", "code": "def"} if stage.kind == "evaluate" else {}
        return {**ran(stage), "environment": {**RAN, **changed}}

    found = answers(filled(tiny, mixed))
    assert found["Hardware and library"][0] == "no"
    assert "device a processor, a GPU" in found["Hardware and library"][1]
    assert found["The code of"][0] == "partly"
    older = answers(filled(tiny, answer_all))
    assert older["The code of"][0] == older["Hardware and library"][0] == "open", "it was not stated then"


def test_another_recipe_for_a_baseline_and_a_choice_on_the_test_are_named(tiny: dict[str, Any]) -> None:
    found = answers(filled(tiny | {"networks": ["resnet50"], "genotypes": ["MSINet"]}, ran))
    assert found["All networks share"] == (
        "partly",
        "Data and splits are the same, but there are several recipes: in_domain, strong_baseline.",
    )
    assert found["Test data play"][0] == "no"


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_every_report_ends_with_the_checklist(finished: tuple[Plan, Workspace], tmp_path: Path, name: str) -> None:
    write_report(content_of(*finished, "msinet run grid.yaml"), tmp_path)
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert "Checklist for architecture search" in text
    panel = checklist_panel(finished[0])
    assert f"Of {len(panel.rows) - 1} practices: " in text
    assert "1909.02453" in text
