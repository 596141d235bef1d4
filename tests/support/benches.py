"""Simulated benches: tables of scores whose truth is known."""

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa

from msinet.bench import SCHEMA, VERSION, Bench
from msinet.spaces.space import PAPER, PAPER_SPACE
from pipeline.bench.build import write

QUERIES = ["a", "a", "b"]


def simulated(
    *, genotypes: int = 64, seeds: int = 2, effect: float = 0.0, noise: float = 0.02, seed: int = 0
) -> tuple[Bench, dict[str, float]]:
    """Return a bench with the targets street and campus, and the true mean of each genotype.

    Each slot with the letter G instead of N adds to the mean, so that good genotypes are close to each other.

    Args:
        genotypes: Number of genotypes: the first of those that vary in the last eight slots.
        seeds: Number of retraining seeds.
        effect: Standard deviation of the means.
        noise: Standard deviation over retraining seeds.
        seed: Seed of the noise.
    """
    rng = np.random.default_rng(seed)
    varied = list(product("NG", repeat=8))
    letters = ["AAEE" + "".join(varied[index]) for index in rng.permutation(len(varied))[:genotypes]]
    counts = np.array([text.count("G") for text in letters], dtype=float)
    truth = dict(zip(letters, 0.5 + effect * (counts - counts.mean()) / counts.std(), strict=True))
    rows = [
        {
            "space": PAPER,
            "genotype": genotype,
            "found_by": [],
            "source": "street",
            "target": target,
            "domain": "in_domain" if target == "street" else "cross_domain",
            "recipe": "0" * 32,
            "retrain_seed": number,
            "hours": 0.5,
            "parameters": 1000 + genotype.count("G"),
            "gmacs": 1.0,
            **dict.fromkeys(("rank1", "rank5", "rank10", "mINP"), 0.5),
            "mAP": mean + noise * rng.standard_normal(),
            "average_precision": [0.5, 1.0, float("nan")],
            "first_match_rank": [2, 1, -1],
            "evaluation": f"{genotype} {target} {number}",
        }
        for genotype, mean in truth.items()
        for target in ("street", "campus")
        for number in range(seeds)
    ]
    facts = {
        "version": VERSION,
        "code": "0.1.0",
        "queries": {"street": QUERIES, "campus": QUERIES},
        "spaces": {PAPER: PAPER_SPACE.to_document()},
    }
    return Bench(pa.Table.from_pylist(rows, schema=SCHEMA), facts), truth


def written(bench: Bench, path: Path) -> Path:
    """Write a bench into a file, and return its path."""
    write(bench.table, bench.facts, path)
    return path
