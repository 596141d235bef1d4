"""The report opens with the answer: a matrix of networks and targets, and what it has cost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import browser, needs_browser
from support.filled import filled, scores
from support.grids import tiny_document

from msinet.statistics import QueryScores
from pipeline.config.budget import Budget
from pipeline.plan.costs import Costs
from pipeline.plan.efforts import Effort
from pipeline.plan.estimate import Hours
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.answer import Matrix, answer, matrix_panel
from pipeline.reports.costs import Work, cost_panel, failure_panels, state_sentence
from pipeline.reports.differences import compared_fields
from pipeline.reports.intervals import intervals_of
from pipeline.reports.page import Content, to_html
from pipeline.reports.panels import panel_text
from pipeline.reports.tradeoff import tradeoff_pictures
from pipeline.reports.write import content_of, write_report
from pipeline.results import Failure, Result
from pipeline.storage.workspace import Workspace

SCORES = {"GGEGAGGNGAEA": 0.600, "EEEEEEEEEEEE": 0.598, "NNNNNNNNNNNN": 0.400}


def planned(**changes: Any) -> Plan:
    """Return a finished plan in which two genotypes are equally good, and one is worse."""

    def result(stage: Stage) -> Result:
        if stage.kind != "evaluate":
            return {}
        genotype = str(stage.labels["genotype"])
        noise = 0.004 * np.sin(7 * float(stage.labels["seed"]) + len(genotype.strip("E")))
        return {**scores(0.5, SCORES[genotype] + noise), "key": stage.name, "genotype": genotype}

    more = {"splits": [], "genotypes": list(SCORES), "retrain_seeds": [0, 1, 2]}
    return filled({**tiny_document(), **more, **changes}, result)


def queries(stage: Stage) -> QueryScores:
    assert stage.result is not None
    noise = np.random.default_rng(0).normal(0, 0.05, 80)
    return QueryScores(np.arange(80) % 40, stage.result["metrics"]["mAP"] + noise - noise.mean(), np.ones(80))


def matrices(plan: Plan) -> list[Matrix]:
    return answer(plan, intervals_of(plan, queries), compared_fields(plan, queries))


def test_the_best_and_what_is_as_good_are_marked() -> None:
    inside, across = matrices(planned())
    assert (inside.domain, inside.columns) == ("In-domain", ["street"])
    assert (across.domain, across.columns) == ("Cross-domain", ["street → campus"])
    found = {row.name: scores[0].mark for row, scores in inside.rows if scores[0]}
    assert found == {"GGEGAGGNGAEA": "best", "EEEEEEEEEEEE": "may be as good", "NNNNNNNNNNNN": ""}
    assert [row.number for row, _ in inside.rows] == [1, 2, 3]
    (told,) = inside.sentences
    assert told.startswith("street: the best is GGEGAGGNGAEA (MSINet) with mAP ")
    assert told.endswith(" %. May be as good: EEEEEEEEEEEE.")
    assert "may be as good" in panel_text(matrix_panel(inside))


def test_one_seed_marks_only_the_highest() -> None:
    inside, _ = matrices(planned(retrain_seeds=[0]))
    assert [scores[0].mark for _, scores in inside.rows if scores[0]] == ["highest", "", ""]
    assert "says nothing about another" in inside.sentences[0]


def test_a_single_network_is_not_the_best_of_anything() -> None:
    inside, _ = matrices(planned(genotypes=["MSINet"]))
    assert [scores[0].mark for _, scores in inside.rows if scores[0]] == [""]
    assert inside.sentences[0].startswith("street: only GGEGAGGNGAEA (MSINet) with mAP 60.")


def test_accuracy_is_drawn_over_the_counted_parameters() -> None:
    plan = planned()
    inside, across = tradeoff_pictures(plan, matrices(plan))
    assert inside.caption.startswith("street: mAP over cost.")
    assert isinstance(inside.image, str)
    assert ">parameters, million<" in inside.image
    assert "currentColor" in inside.image, "it has the page's colour in dark mode too"
    names = [set(str(picture.image).split(' id="')[1:]) for picture in (inside, across)]
    assert not names[0] & names[1], "two drawings of a page share no identifier"


def test_costs_count_retries_and_say_what_failed() -> None:
    plan = planned()
    (done, failed, *_) = plan.of_kind("retrain")
    done.result, failed.result = {"seconds": 7200.0, "started": 0.0}, None
    failure = Failure("the disk <b>is</b> full", time=90.0)
    works = [Work(done, Effort(2.5, 0.5, 3), None), Work(failed, Effort(0.25, 0.25, 1), failure)]
    budget = Budget(hours=10, price_per_hour=2)
    panel = cost_panel(works, Costs({"retrain": 2.75}, Hours(20.0, False), budget, 0.75))
    assert panel.rows[0][-1] == "money"
    assert panel.rows[1] == ["retrain", "2", "1", "2.75", "0.75", "120.0 min", "2", "1", "5.50"]
    assert panel.rows[-1] == ["together", "2", "1", "2.75", "0.75", "", "2", "1", "5.50"]
    assert panel.notes[:2] == [
        "The budget is 10 hours at 2 each; 7.25 hours of it are left.",
        "It does not suffice: the rest takes about 20.00 hours.",
    ]
    free = cost_panel(works, Costs({"retrain": 2.75}, None, None, 0.75))
    assert (free.rows[0][-1], len(free.notes)) == ("failed", 1), "nothing is said about money or a budget"
    (told,) = failure_panels(works)
    assert told.rows[1] == [failed.name, failure.message, "1970-01-01 00:01 UTC"]
    assert state_sentence(plan, works) == (
        "1 of 2 stages are done, 1 failed, in 2.75 hours of one worker, from 1970-01-01 00:00 UTC to 1970-01-01 02:00 "
        "UTC."
    )
    page = to_html(Content("grid", spent=[told]))
    assert "the disk &lt;b&gt;is&lt;/b&gt; full" in page


@pytest.fixture(scope="module")
def report(finished: tuple[Plan, Workspace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(content_of(*finished, "msinet run tiny.yaml"), folder)
    return folder / "report.html"


def test_a_report_of_a_workspace_has_everything_and_is_the_same_each_time(
    finished: tuple[Plan, Workspace], report: Path, tmp_path: Path
) -> None:
    text = report.read_text(encoding="utf-8")
    places = [text.index(f'id="{name}"') for name in ("in-domain", "cross-domain", "certainty", "searches", "costs")]
    assert places == sorted(places)
    assert places[-1] < text.index('id="paper"') < text.index('id="checklist"')
    write_report(content_of(*finished, "msinet run tiny.yaml"), tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text


@needs_browser
def test_a_browser_shows_the_answer_first_and_nothing_overflows(report: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        for width, height in ((1280, 800), (390, 844)):
            page.open(report.as_uri(), width, height)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            ends = page.evaluate("[...document.querySelectorAll('.answer')].map(e => e.getBoundingClientRect().bottom)")
            assert len(ends) == 2
            assert max(ends) < height, "the answer is above the fold"
            first = "document.querySelector('.matrix tbody tr').getBoundingClientRect().bottom"
            assert page.evaluate(first) < height
            outside = (
                "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .hidden') && "
                "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
            )
            assert page.evaluate(outside) == []
