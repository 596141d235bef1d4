"""A bench: scores of many genotypes, each trained with several seeds, in one Parquet file that anybody can replay.

This package reads a bench, and says how much of the spread of its scores is the genotype's. It needs NumPy, SciPy and
PyArrow. `msinet bench build` makes a bench from a workspace.

    bench = msinet.bench.load("bench.parquet")
    group = bench.group(target="street")
    group.scores()["GGEGAGGNGAEA"]  # {0: 0.47, 1: 0.49}: mAP by retraining seed
"""

from msinet.bench.layout import SCHEMA, VERSION
from msinet.bench.reading import Bench, BenchError, Group, load
from msinet.bench.spread import FEW, genotype_share, warning

__all__ = ["FEW", "SCHEMA", "VERSION", "Bench", "BenchError", "Group", "genotype_share", "load", "warning"]
