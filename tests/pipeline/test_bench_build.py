"""`msinet bench build`: what a workspace holds goes into one file, and comes back from it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.benches import simulated, written

import msinet.bench
from msinet.bench import Bench
from pipeline.bench.build import build
from pipeline.bench.collect import collect
from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.kinds import PER_QUERY
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace

Finished = tuple[Plan, Workspace]


@pytest.fixture(scope="module")
def built(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Path]:
    """Return the bench of the tiny experiment, and its file."""
    path = tmp_path_factory.mktemp("bench") / "bench.parquet"
    return build(collect(finished[1]), finished[1], path, lambda line: None), path


def test_every_evaluation_of_a_genotype_is_a_row(built: tuple[Bench, Path], finished: Finished) -> None:
    (bench, path), (planned, workspace) = built, finished
    loaded = msinet.bench.load(path)
    assert loaded.table.equals(bench.table)
    assert loaded.facts == bench.facts
    evaluations = {stage.key: stage for stage in planned.of_kind("evaluate") if stage.labels["network"] == "msinet"}
    rows = {row["evaluation"]: row for row in loaded.table.to_pylist()}
    assert rows.keys() == evaluations.keys()
    search = next(planned.of_kind("search"))
    for key, stage in evaluations.items():
        row, result = rows[str(key)], stage.result
        assert result is not None
        assert (row["source"], row["target"], row["domain"]) == tuple(
            stage.labels[name] for name in ("source", "target", "domain")
        )
        assert row["genotype"] == result["genotype"]
        assert row["mAP"] == result["metrics"]["mAP"]
        assert row["found_by"] == [search.key]
        per_query = pq.read_table(workspace.files(result) / PER_QUERY).to_pydict()
        assert row["first_match_rank"] == per_query["first_match_rank"]
        np.testing.assert_allclose(row["average_precision"], per_query["average_precision"], rtol=1e-6)
        queries = loaded.group(row["target"]).query_scores(row["genotype"], row["retrain_seed"])
        assert queries.identities.tolist() == per_query["pid"]
        assert np.nanmean(queries.values("mAP")) == pytest.approx(row["mAP"])


def test_the_size_of_a_genotype_is_that_of_a_measurement(built: tuple[Bench, Path]) -> None:
    import torch

    from msinet.engine.measure import measure
    from msinet.models import build_model

    row = built[0].table.to_pylist()[0]
    model = build_model("msinet", num_classes=0, genotype=row["genotype"])
    figures = measure(model, (32, 16), torch.device("cpu"), 1)
    assert row["parameters"] == figures["parameters"]
    assert row["gmacs"] == pytest.approx(figures["gmacs"])


def test_the_same_results_give_the_same_bytes(built: tuple[Bench, Path], finished: Finished, tmp_path: Path) -> None:
    again = tmp_path / "bench.parquet"
    build(collect(finished[1], [finished[0]]), finished[1], again, lambda line: None)
    assert again.read_bytes() == built[1].read_bytes()  # the experiment's names are those of the domains
    assert again.with_suffix(".md").read_text() == built[1].with_suffix(".md").read_text()


def test_no_path_of_this_machine_is_in_it(built: tuple[Bench, Path], finished: Finished) -> None:
    texts = json.dumps([built[0].facts, built[0].table.to_pylist()]) + built[1].with_suffix(".md").read_text()
    for path in (finished[1].address, str(built[1].parent), str(Path.home()), "/tmp"):
        assert path not in texts


def test_the_card_says_what_the_bench_can_tell(built: tuple[Bench, Path]) -> None:
    card = built[1].with_suffix(".md").read_text()
    assert "schemes cannot be told apart on this bench" in card  # one genotype with one seed
    for part in ("street", "campus", built[0].groups[0].recipe[:8], "Apache-2.0", "test\\_ids 4", "60-80"):
        assert part in card


def test_only_the_named_experiments_count(finished: Finished, tiny: dict) -> None:
    tiny["targets"], tiny["datasets"] = (
        ["road"],
        {"street": tiny["datasets"]["street"], "road": tiny["datasets"]["campus"]},
    )
    other = plan(Experiment.model_validate(tiny), lookup=finished[1].result)
    assert {row.target for row in collect(finished[1], [other]).evaluations} == {"road"}
    tiny["retrain_seeds"] = [7]
    nothing = plan(Experiment.model_validate(tiny), lookup=finished[1].result)
    with pytest.raises(RequestError, match=r"has none of tiny"):
        collect(finished[1], [nothing])


def test_results_of_older_code_are_left_out(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from pipeline.plan.kinds import KINDS

    monkeypatch.setitem(KINDS, "evaluate", replace(KINDS["evaluate"], schema=99))
    with pytest.raises(RequestError, match="needs finished evaluations"):
        collect(finished[1])


def test_a_bench_replaces_only_a_bench(tmp_path: Path, finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.parquet"
    path.write_text("my diary")
    for arguments, sentence in (
        (["-o", str(path)], "a bench may replace only a bench"),
        (["-o", str(tmp_path / "bench.csv")], "with the ending .parquet"),
        (["--workspace", str(tmp_path / "none")], "there must be a workspace"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["bench", "build", "--workspace", finished[1].address, *arguments])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
    assert path.read_text() == "my diary"
    written(simulated()[0], path.with_name("old.parquet")).replace(path)
    build(collect(finished[1]), finished[1], path, lambda line: None)
    assert msinet.bench.load(path).facts["counts"]["genotypes"] == 1
