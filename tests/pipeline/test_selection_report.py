"""What the report says about a choice: who is chosen, what the targets say about it, and how much is not known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.filled import filled, scores
from support.grids import tiny_document

from msinet.statistics import QueryScores
from pipeline.plan.stage import HELD_OUT, Plan, Stage
from pipeline.reports.console import comparison
from pipeline.reports.intervals import intervals_of
from pipeline.reports.page import Content
from pipeline.reports.panels import Panel, panel_text
from pipeline.reports.selection import selection_panels
from pipeline.reports.tables import build_tables
from pipeline.reports.write import write_report
from pipeline.results import Result

# The mAP of each genotype on held-out street, street and campus.
SCORES = {
    "NNNNNNNNNNNN": (0.52, 0.40, 0.20),
    "EEEEEEEEEEEE": (0.50, 0.47, 0.25),
    "GGGGGGGGGGGG": (0.30, 0.35, 0.22),
    "AAAAAAAAAAAA": (0.20, 0.30, 0.10),
}


def answer(stage: Stage) -> Result | None:
    if stage.kind != "evaluate":
        return {"genotype": stage.settings.get("genotype", "")}
    if stage.labels["network"] != "msinet":
        return None
    held_out, *tests = SCORES[str(stage.labels["genotype"])]
    mAP = held_out if stage.labels["domain"] == HELD_OUT else tests[["street", "campus"].index(stage.labels["target"])]
    return {**scores(0.5, mAP), "key": stage.name, "genotype": stage.labels["genotype"]}


def chosen(answer: Any = answer, **changes: Any) -> Plan:
    more = {"splits": [], "genotypes": list(SCORES), "selection": {}, "networks": ["osnet"]}
    return filled({**tiny_document(), **more, **changes}, answer)


def queries(stage: Stage) -> QueryScores:
    """Return made-up queries of 40 identities, whose mean is the stage's score."""
    assert stage.result is not None
    noise = np.random.default_rng(0).normal(0, 0.05, 40)
    precision = stage.result["metrics"]["mAP"] + noise - noise.mean()
    return QueryScores(np.arange(40), precision, np.ones(40, int))


def panels_of(plan: Plan) -> list[Panel]:
    return selection_panels(plan, queries, intervals_of(plan, queries))


@pytest.fixture(scope="module")
def panel() -> Panel:
    (panel,) = panels_of(chosen())
    return panel


def test_the_best_on_held_out_pictures_is_chosen_and_the_test_has_its_own_columns(panel: Panel) -> None:
    header, *rows = panel.rows
    assert header == ["genotype", "found by", "held-out street: mAP", "street: mAP", "campus: mAP", ""]
    assert [row[0] for row in rows] == list(SCORES)
    assert [row[-1] for row in rows] == ["chosen", "", "", ""]
    assert [cell.split(" ± ")[0] for cell in rows[0][2:5]] == ["52.0", "40.0", "20.0"]
    assert all(" ± " in cell for row in rows for cell in row[2:5]), "every score has its interval"


def test_the_report_says_by_how_much_choosing_on_the_test_would_have_flattered(panel: Panel) -> None:
    text = panel_text(panel)
    assert "Choosing on the test would have taken EEEEEEEEEEEE with 47.0, and flattered by 7.0 points [" in text
    assert "would have taken EEEEEEEEEEEE with 25.0, and flattered by 5.0 points" in text
    # Of the six pairs of genotypes, one is turned around on street, and two are on campus.
    assert "held-out scores and street over 4 genotypes: Kendall's τ 0.67" in text
    assert "held-out scores and campus over 4 genotypes: Kendall's τ 0.33" in text


def test_a_genotype_without_all_its_held_out_scores_is_not_compared() -> None:
    def incomplete(stage: Stage) -> Result | None:
        best = stage.labels.get("genotype") == "NNNNNNNNNNNN" and stage.labels.get("seed") == 1
        return (
            None
            if best and stage.kind == "evaluate"
            else answer(stage)
            if stage.labels.get("network") != "osnet"
            else None
        )

    (panel,) = panels_of(chosen(incomplete, retrain_seeds=[0, 1]))
    assert panel.rows[1][0] == "EEEEEEEEEEEE"
    assert "not compared yet: NNNNNNNNNNNN." in panel_text(panel)


def test_held_out_scores_are_in_no_other_table(tmp_path: Path) -> None:
    plan = chosen()
    assert "52.0" not in comparison(plan), "the comparison shows scores on targets only"
    content = Content("grid", panels=panels_of(plan), tables=build_tables(plan, "msinet run x"))
    markdown, *csvs, page = (path.read_text() for path in write_report(content, tmp_path))
    assert all("52.0" not in text for text in csvs)
    for text in (markdown, page):
        assert "NNNNNNNNNNNN is chosen" in text
        assert "flattered by 7.0 points" in text


def test_without_a_selection_nothing_is_said() -> None:
    assert panels_of(chosen(lambda stage: None, selection=None)) == []
