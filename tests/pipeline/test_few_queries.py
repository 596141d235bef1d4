"""Scores that leave out queries say so wherever they are printed."""

import csv
import io
from pathlib import Path

import pytest
import torch
from support.command_line import manifest
from support.filled import filled, scores
from support.grids import tiny_document

from msinet import build_model
from pipeline.by_hand import evaluate_by_hand
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan
from pipeline.reports.console import comparison
from pipeline.reports.page import Content, to_html
from pipeline.reports.plain import to_csv, to_markdown
from pipeline.reports.tables import build_tables
from pipeline.results import scored_queries
from pipeline.storage.workspace import Workspace

FEW = {"num_queries": 1200.0, "num_valid_queries": 3.0}
ALL = {"num_queries": 1200.0, "num_valid_queries": 1200.0}
TEXT = "3 of 1,200 queries"


def planned(**counts: float) -> Plan:
    """Return the plan of two networks whose evaluations have these numbers of queries."""
    document = tiny_document() | {
        "splits": [],
        "genotypes": ["MSINet"],
        "networks": ["resnet50"],
        "retrain_seeds": [0, 1],
    }
    return filled(document, lambda stage: scores(0.75, 0.5, **counts) if stage.kind == "evaluate" else {})


def test_the_text_is_empty_unless_queries_are_left_out() -> None:
    assert (scored_queries(FEW), scored_queries(ALL)) == (TEXT, "")
    assert scored_queries({"mAP": 0.5}) == ""  # a result of an older version


def test_the_line_of_a_finished_stage_says_so() -> None:
    outcome = KINDS["evaluate"].outcome
    assert outcome(scores(0.75, 0.5, **FEW)) == f": mAP 50.0 %, rank-1 75.0 % ({TEXT})"
    assert outcome(scores(0.75, 0.5, **ALL)) == ": mAP 50.0 %, rank-1 75.0 %"


def test_the_comparison_says_so_in_each_cell() -> None:
    assert comparison(planned(**FEW)).count(f"50.0 / 75.0 ({TEXT})") == 4  # two networks × two targets
    assert "queries" not in comparison(planned(**ALL))


def test_the_papers_tables_say_so_in_each_form() -> None:
    few, whole = (build_tables(planned(**counts), "msinet run x.yaml") for counts in (FEW, ALL))
    cells = [cell for table in few for row in table.rows for cell in row.cells if getattr(cell, "measured", [])]
    assert len(cells) == 8  # two networks × two targets × two scores
    assert to_markdown(few).count(f"[{TEXT}]") == 8
    assert to_html(Content("grid", tables=few)).count(TEXT) == 8
    lines = [line for table in few for line in csv.DictReader(io.StringIO(to_csv(table)))]
    assert [line["note"] for line in lines if line["measured"]] == [TEXT] * 8
    assert to_markdown(few).count("have no match in the gallery") == 1
    for text in (to_markdown(whole), to_html(Content("grid", tables=whole)), *map(to_csv, whole)):
        assert "queries" not in text.lower()


@pytest.mark.parametrize("skipped", [True, False])
def test_an_evaluation_by_hand_says_so_beside_its_scores(tmp_path: Path, skipped: bool) -> None:
    data = manifest(tmp_path / "mine")
    table = data / "manifest.csv"
    lines = table.read_text().splitlines()
    queries = [line for line in lines if line.endswith(",query")]
    if skipped:  # nobody else has the identities of these queries
        for line in queries[1:]:
            path, identity, camera, subset = line.split(",")
            lines[lines.index(line)] = f"{path},{identity}00,{camera},{subset}"
        table.write_text("\n".join(lines))
    torch.manual_seed(0)
    torch.save(build_model("osnet", num_classes=3, scales=[3]).state_dict(), tmp_path / "model.pth")
    printed = evaluate_by_hand(
        tmp_path / "model.pth",
        "osnet",
        {"scales": [3]},
        [f"manifest={data}"],
        (32, 16),
        Workspace(tmp_path / "workspace"),
        after_neck=False,
        rerank=True,
    )
    header, _, *rows = printed.splitlines()
    assert header.endswith("  queries")
    assert len(rows) == 2
    assert {row.rpartition("  ")[2] for row in rows} == {f"1 of {len(queries)}" if skipped else "all"}
