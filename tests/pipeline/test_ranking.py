"""Genotypes under the shared weights of a search, beside their scores after retraining."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.command_line import msinet, write
from support.filled import filled, scores
from support.grids import run_without_ray, tiny_document

from msinet.data.splits import split_rows
from pipeline.config.experiment import Experiment
from pipeline.plan.images import compared_images
from pipeline.plan.kinds import PER_QUERY, SPLIT
from pipeline.plan.memory import stage_memory
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.reports.ranking import ranking_panels, ranking_pictures, rankings
from pipeline.results import Result
from pipeline.storage.workspace import Workspace


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """Return a search and the scores of three genotypes under its weights, run to their end. Nothing is retrained."""
    document = tiny_document() | {"targets": [], "genotypes": ["MSINet"], "derive": {"candidates": 2}, "rank": True}
    document["search"]["epochs"] = 1
    workspace = Workspace(tmp_path_factory.mktemp("ranked"))
    return run_without_ray(document, workspace), workspace


def test_every_genotype_is_scored_under_the_search(ranked: tuple[Plan, Workspace]) -> None:
    planned, workspace = ranked
    (search,) = planned.of_kind("search")
    assert search.result is not None
    shared = list(planned.of_kind("score"))
    assert len({stage.key for stage in shared}) == len(shared) == 3
    validation = {
        row["path"] for _, row in split_rows(workspace.files(search.result) / SPLIT) if row["side"] == "valid"
    }
    for stage in shared:
        assert stage.result is not None
        table = pq.read_table(workspace.files(stage.result) / PER_QUERY)
        assert set(table["path"].to_pylist()) == validation, "no picture of the training side is scored"
        precisions = np.array(table["average_precision"].to_pylist(), dtype=float)
        assert stage.result["metrics"]["mAP"] == pytest.approx(float(np.nanmean(precisions)))
    assert len({stage.result["metrics"]["mAP"] for stage in shared if stage.result}) > 1


def test_a_score_needs_the_memory_of_its_validation_side(tiny: dict[str, Any]) -> None:
    built = plan(Experiment.model_validate({**tiny, "rank": True}))
    (stage,) = built.of_kind("score")
    spec: Any = built.experiment.datasets["street"]
    assert compared_images(built, stage) == spec.spec.train_images * 60 // 100
    assert stage_memory(built, stage) > 0


def test_ranking_needs_searches_and_is_not_part_of_trials(tiny: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"`rank` .* needs `splits`"):
        Experiment.model_validate({**tiny, "splits": [], "genotypes": ["MSINet"], "rank": True})
    trial = plan(Experiment.model_validate({**tiny, "rank": True}), hold_out=20)
    assert not list(trial.of_kind("score"))


GENOTYPES = ["NNNNNNNNNNNN", "GGGGGGGGGGGG", "AAAAAAAAAAAA", "EEEEEEEEEEEE", "NGAENGAENGAE", "MSINet"]


def by_hand(shared: list[float], retrained: list[float], **changes: Any) -> Plan:
    """Return a finished plan in which the n-th of `GENOTYPES` has these scores, and the searched one twice 0.9."""

    def answer(stage: Stage) -> Result:
        if stage.kind == "search":
            return {"genotype": "EEEEEEEEEEEN", "alphas": [[0.0] * 4] * 12}
        place = GENOTYPES.index(str(stage.labels["origin"])) if stage.labels.get("origin") in GENOTYPES else None
        letters = stage.settings.get("genotype", "EEEEEEEEEEEN")
        values = shared if stage.kind == "score" else retrained
        score = 0.9 if place is None else values[place]
        return {**scores(score, score), "genotype": stage.labels.get("genotype", letters)}

    document = tiny_document() | {"targets": ["street"], "genotypes": GENOTYPES, "rank": True, **changes}
    return filled(document, answer)


def test_a_ranking_correlates_the_two_scores_of_each_genotype() -> None:
    rising, falling = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    (same,) = rankings(by_hand(rising, rising))
    assert (same.supernet, same.target, len(same.points), same.planned) == ("street 60-80 seed 0", "street", 7, 7)
    assert same.correlations is not None
    assert [value.estimate for value in same.correlations] == pytest.approx([1, 1])
    (other,) = rankings(by_hand(rising, falling))
    assert other.correlations is not None
    concordant, pairs = 6, 21  # the searched genotype is first in both, so its six pairs agree
    assert other.correlations[0].estimate == pytest.approx((concordant - (pairs - concordant)) / pairs)
    assert other.correlations[0].low < other.correlations[0].estimate < other.correlations[0].high


def test_equal_scores_have_no_ranks() -> None:
    ((panel,), pictures) = (f(by_hand([0.9] * 6, [0.9] * 6)) for f in (ranking_panels, ranking_pictures))
    assert panel.rows[1] == ["street 60-80 seed 0", "street", "7 of 7", "-", "-"]
    ((title, svg),) = pictures
    assert title == "street 60-80 seed 0: shared weights against retraining on street"
    assert isinstance(svg, str)
    assert svg.startswith("<svg")
    assert [(title, svg)] == list(ranking_pictures(by_hand([0.9] * 6, [0.9] * 6))), "a plot is the same each time"
    assert not ranking_panels(by_hand([0.9] * 6, [0.9] * 6, rank=False))


def test_the_verb_needs_the_setting(tiny: dict[str, Any], workspace: Workspace, tmp_path: Path) -> None:
    ended = msinet("rank", write(tmp_path, tiny), "--workspace", workspace.address, folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "must have `rank: true`" in ended.stderr


def test_the_verb_shows_the_ranking_and_saves_no_plot_of_nothing(
    tiny: dict[str, Any], workspace: Workspace, tmp_path: Path
) -> None:
    file = write(tmp_path, {**tiny, "rank": True})
    ended = msinet("rank", file, "--workspace", workspace.address, "--out", "plots", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Not everything is done. To compute the rest: ")
    assert not (tmp_path / "plots").exists()
