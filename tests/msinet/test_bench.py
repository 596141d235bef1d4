"""Benches are read without torch, asked for scores, and say whether schemes can be told apart."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.benches import simulated, written

from msinet.bench import Bench, BenchError, genotype_share, load, warning
from msinet.bench.layout import FACTS


def test_the_scores_of_a_genotype_by_seed_come_back(tmp_path: Path) -> None:
    made, _ = simulated(genotypes=5, seeds=3)
    group = load(written(made, tmp_path / "bench.parquet")).group("campus")
    rows = [row for row in made.table.to_pylist() if row["target"] == "campus"]
    assert len(rows) == 15
    for row in rows:
        assert group.scores()[row["genotype"]][row["retrain_seed"]] == row["mAP"]
    assert group.name == "street → campus"
    queries = group.query_scores(group.genotypes[0], 2)
    assert queries.names.tolist() == ["a"]  # b has no match
    with pytest.raises(BenchError, match="with seed 9"):
        group.query_scores(group.genotypes[0], 9)


def test_a_group_is_named_by_as_much_as_is_necessary() -> None:
    bench, _ = simulated(genotypes=3)
    assert bench.group("street", recipe="00").target == "street"
    with pytest.raises(BenchError, match=r"has 2 groups of scores, and one must be named.*target campus"):
        bench.group()
    with pytest.raises(BenchError, match=r"must have scores with target moon, but it has only: .*target street"):
        bench.group("moon")


@pytest.mark.parametrize(
    ("effect", "noise", "sentence"),
    [(0.03, 0.01, None), (0.0, 0.02, "may be 0"), (0.012, 0.03, "is below 30 %")],
)
def test_a_bench_warns_if_schemes_cannot_be_told_apart(effect: float, noise: float, sentence: str | None) -> None:
    bench, _ = simulated(genotypes=250, seeds=3, effect=effect, noise=noise, seed=4)
    share = genotype_share(bench.group("street"))
    assert share is not None
    assert share.low <= effect**2 / (effect**2 + noise**2) <= share.high
    found = warning(share)
    assert found is None if sentence is None else sentence in (found or "")


@pytest.mark.parametrize(("genotypes", "seeds"), [(1, 3), (3, 1), (1, 1)])
def test_too_few_trainings_tell_nothing(genotypes: int, seeds: int) -> None:
    bench, _ = simulated(genotypes=2)
    kept = bench.groups[0].genotypes[:genotypes]
    rows = [r for r in bench.table.to_pylist() if r["genotype"] in kept and r["retrain_seed"] < seeds]
    share = genotype_share(Bench(pa.Table.from_pylist(rows, schema=bench.table.schema), bench.facts).group("street"))
    assert share is None
    assert "needs two genotypes and two seeds" in (warning(share) or "")


def test_what_is_no_bench_is_said_in_one_sentence(tmp_path: Path) -> None:
    bench, _ = simulated(genotypes=2)
    good = written(bench, tmp_path / "good.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "short.parquet").write_bytes(good.read_bytes()[:-200])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    written(Bench(bench.table, {**bench.facts, "version": 2}), tmp_path / "newer.parquet")
    written(Bench(bench.table, {**bench.facts, "queries": {"street": ["a"]}}), tmp_path / "lacking.parquet")
    facts = json.dumps(bench.facts).encode()
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({FACTS: facts}), tmp_path / "columns.parquet")
    for name, sentence in {
        "none": "there is no file",
        "text": "must be a Parquet file",
        "short": "must be a Parquet file",
        "foreign": "another Parquet file",
        "newer": "has version 2",
        "lacking": "damaged",
        "columns": "damaged",
    }.items():
        with pytest.raises(BenchError, match=sentence) as raised:
            load(tmp_path / f"{name}.parquet")
        assert "\n" not in str(raised.value), name


def test_a_bench_is_read_without_torch() -> None:
    code = "import sys, msinet.bench; assert not {'torch', 'numba', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
