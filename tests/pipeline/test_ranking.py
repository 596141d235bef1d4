"""Genotypes under the shared weights of a search, beside their scores after retraining."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.grids import run_without_ray, tiny_document

from msinet.data.splits import split_rows
from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import PER_QUERY, SPLIT
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
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


def test_ranking_needs_searches_and_is_not_part_of_trials(tiny: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"`rank` .* needs `splits`"):
        Experiment.model_validate({**tiny, "splits": [], "genotypes": ["MSINet"], "rank": True})
    trial = plan(Experiment.model_validate({**tiny, "rank": True}), hold_out=20)
    assert not list(trial.of_kind("score"))
