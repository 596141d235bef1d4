"""Random genotypes are planned like named ones, and the report compares the others with them."""

from typing import Any

import pytest
from support.filled import filled, scores
from support.grids import tiny_document

from msinet.genotype import Genotype
from msinet.random_genotypes import draw_genotypes
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.reports.luck import luck_panels
from pipeline.reports.panels import panel_text
from pipeline.reports.tables import build_tables
from pipeline.results import Result

FOUND = "GGEGAGGNGAEA"


def planned(**changes: Any) -> Plan:
    return plan(Experiment.model_validate({**tiny_document(), **changes}))


def test_random_genotypes_are_an_axis_and_their_keys_are_those_of_named_ones() -> None:
    letters = [genotype.letters for genotype in draw_genotypes(3, seed=7)]
    drawn = planned(splits=[], random_genotypes={"count": 3, "seed": 7})
    settings = {stage.labels["drawn"]: stage.settings for stage in drawn.of_kind("retrain")}
    assert [settings[number]["genotype"] for number in (1, 2, 3)] == letters
    named = planned(splits=[], genotypes=letters)
    assert [stage.settings for stage in named.of_kind("retrain")] == list(settings.values())
    assert [stage.labels["drawn"] for stage in drawn.of_kind("proxy")] == [1, 2, 3]
    assert not list(named.of_kind("proxy"))


def test_draws_with_the_parameters_of_a_searched_genotype_wait_for_the_search() -> None:
    section = {"count": 2, "parameters_like": "searched", "within": 0.0005}
    built = planned(random_genotypes=section)
    stages = [stage for stage in built.of_kind("retrain") if "drawn" in stage.labels]
    assert [stage.name.split(" in_domain")[0] for stage in stages] == [
        f"retrain street random {number} like 60-80 seed 0" for number in (1, 2)
    ]
    assert all(stage.key is None for stage in stages)
    data, search = "prepare street", "search street 60-80 seed 0"
    results: dict[str, Result] = {data: {"train_fingerprint": "f"}, search: {"genotype": FOUND}}
    bound = [stage.bind(results) or {} for stage in stages]
    expected = draw_genotypes(2, like=Genotype(FOUND), within=0.0005)
    assert [spec["genotype"] for spec in bound] == [genotype.letters for genotype in expected]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (0, "greater than or equal to 1"),
        ({"count": 2, "within": 0.1}, "without `parameters_like`"),
        ({"count": 2, "parameters_like": "MSINot"}, "a genotype must be one of MSINet"),
        ({"count": 2, "parameters_like": "searched"}, "needs searches: give `splits`"),
        ({"count": 99, "parameters_like": "N" * 12, "within": 0}, "have found only"),
    ],
)
def test_wrong_draws_are_refused(section: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned(splits=[], networks=["osnet"], random_genotypes=section)


def answer(stage: Stage) -> Result | None:
    """Random genotype n scores n/100, the searched one 8.5/100; a search takes three times as long as a retraining."""
    if stage.kind == "search":
        return {"genotype": FOUND, "train_seconds": 30.0}
    number = int(stage.labels.get("drawn", 0))
    letters = str(stage.settings.get("genotype") or stage.labels.get("genotype", FOUND))
    if stage.kind == "retrain":
        return {"genotype": letters, "train_seconds": 10.0}
    if stage.kind == "proxy":
        return {"genotype": letters, "metrics": {"parameters": number, "gmacs": -number, "log_synflow": 1.0}}
    score = scores(0.5, number / 100 if number else 0.085)
    return {**score, "key": stage.name, "genotype": letters} if stage.kind == "evaluate" else {}


def test_the_report_says_how_likely_luck_is() -> None:
    built = filled({**tiny_document(), "targets": ["street"], "random_genotypes": 10}, answer)
    (panel,) = luck_panels(built)
    (row,) = panel.rows[1:]
    # Of ten draws two are as good. A search of 30 s and a retraining of 10 s pay for four retrainings: 1 - 0.8^4.
    assert row == [FOUND, "60-80 seed 0", "8.5", "80 %", "20 % [3, 56]", "4.0", "59 % [10, 96]"]
    text = panel_text(panel)
    assert "10 random genotypes score 5.5 on average, from 1.0 to 10.0" in text
    assert "Rank correlation of parameters and street over 11 genotypes" in text
    assert "Rank correlation of synflow" not in text, "a constant has no rank"


def test_random_genotypes_are_not_in_the_tables_of_the_paper() -> None:
    built = filled({**tiny_document(), "random_genotypes": 3}, answer)
    assert not [row for table in build_tables(built, "") for row in table.rows if "random" in row.name]
