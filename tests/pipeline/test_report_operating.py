"""The report shows distance thresholds of the chosen networks, from published embeddings, and never embeds again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.numpy

from msinet.data.galleries import sides
from msinet.data.packed import PackedDataset
from msinet.engine.pairs import count_pairs
from msinet.statistics import operating
from msinet.statistics.operating import operating_points
from pipeline.plan.kinds import EMBEDDING, SHARDS
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.operating import operating_panels
from pipeline.reports.page import Content, to_html
from pipeline.reports.panels import panel_markdown
from pipeline.storage.workspace import Workspace

FEW = (0.05, 0.2)  # the tiny targets have too few pairs for the usual rates


@pytest.fixture
def few_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating, "RATES", FEW)


def on_street(plan: Plan) -> tuple[Stage, Stage]:
    """Return the evaluation on street and its prepared dataset."""
    evaluation = next(s for s in plan.of_kind("evaluate") if s.on_target and s.labels["target"] == "street")
    return evaluation, plan.stages[evaluation.needs["target_data"]]


def test_thresholds_are_those_of_the_published_embeddings(finished: tuple[Plan, Workspace], few_rates: None) -> None:
    plan, workspace = finished
    (panel,) = operating_panels(plan, workspace)
    assert [row[0] for row in panel.rows[1:]] == ["street", "street", "campus", "campus"]
    evaluation, prepared = on_street(plan)
    assert evaluation.result is not None
    assert prepared.result is not None
    records = PackedDataset(workspace.files(prepared.result) / SHARDS).records
    embedded = [record for subset in ("query", "gallery") for record in records if record.subset == subset]
    embedding_ND = safetensors.numpy.load_file(workspace.files(evaluation.result) / EMBEDDING)["embedding_ND"]
    query, gallery = (([embedded[i] for i in side], embedding_ND[side]) for side in sides(embedded, "fixed")[0])
    counts = count_pairs(*query, *gallery)
    for row, point in zip(panel.rows[1:3], operating_points(counts, FEW), strict=True):
        assert row[2:4] == [f"{point.wanted:g}", f"{point.threshold:.4f}"]
        assert row[5].startswith(f"{100 * point.true_positive_rate.estimate:.1f} (")
    assert f"{counts.negative.sum():,} of two" in panel.notes[0]
    assert "has the highest mAP" in panel.notes[0]


def test_the_page_has_table_and_curve_and_the_text_the_table(finished: tuple[Plan, Workspace], few_rates: None) -> None:
    panels = operating_panels(*finished)
    page = to_html(Content("tiny", panels=panels))
    section = page[page.index('id="operating"') :].partition("</section>")[0]
    assert section.count("<svg") == section.count("<figcaption>") == 2
    assert section.index("<table") < section.index("<svg") < section.index("which also holds how uncertain")
    genotype = on_street(finished[0])[0].result["genotype"]  # type: ignore[index]
    assert f"| street | {genotype} | 0.05 |" in panel_markdown(panels[0])


def test_rates_that_need_more_pairs_are_left_out(finished: tuple[Plan, Workspace]) -> None:
    (panel,) = operating_panels(*finished)
    assert all("Smaller rates need more pairs" in note for note in panel.notes[:2])


def test_what_is_missing_is_said(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    plan, workspace = finished
    assert workspace.root is not None
    copy = Workspace(shutil.copytree(workspace.root, tmp_path / "copy"))
    evaluation, prepared = on_street(plan)
    assert evaluation.result is not None
    assert prepared.result is not None
    embeddings = copy.files(evaluation.result) / EMBEDDING
    embeddings.write_bytes(b"torn")
    assert "must hold the embeddings of an evaluation, but" in operating_panels(plan, copy)[0].notes[0]
    embeddings.unlink()
    assert "the embeddings of the evaluation are gone" in operating_panels(plan, copy)[0].notes[0]
    (copy.files(prepared.result) / SHARDS / "shard-00000.arrow").unlink()
    assert "no copy of the prepared dataset" in operating_panels(plan, copy)[0].notes[0]


def test_nothing_is_shown_before_there_is_an_evaluation(finished: tuple[Plan, Workspace]) -> None:
    plan = Plan(finished[0].experiment, {n: replace(s, result=None) for n, s in finished[0].stages.items()})
    assert operating_panels(plan, finished[1]) == []
