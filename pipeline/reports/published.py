"""The paper's figures, by row and column of this report's tables."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

PAPER_NAMES = {"M": "Market-1501", "MS": "MSMT17", "VR": "VeRi-776", "VID": "VehicleID"}
# The paper's short name for each kind of dataset. The paper's VehicleID column is the test list of 2400 identities.
CODES = {"market1501": "M", "msmt17": "MS", "veri": "VR", "vehicleid": "VID", "vehicleid2400": "VID"}
PAPER_METRICS = {"r1": "rank1", "r5": "rank5", "map": "mAP"}


TITLES = {
    7: "Genotypes",
    8: "Supervised training, scratch and pre-trained",
    9: "Train/valid identity splits of the search",
    10: "Generalisation to another domain",
    11: "Alignment of feature maps",
}
STARTS = {"scratch": "from scratch", "pretrained": "pre-trained"}


WITHOUT, WITH, FROM_FILE, SOFTMAX = "without overlap", "with overlap", "as a file states", "softmax"


class RowKey(NamedTuple):
    group: str
    name: str


Scores = Mapping[str, float]
PublishedRows = dict[RowKey, dict[str, Scores]]


@cache
def published() -> dict[str, Any]:
    """Return the content of `paper_results.json`."""
    text = resources.files("pipeline.reports").joinpath("paper_results.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def published_supervised() -> PublishedRows:
    """Return the scores of Table 8."""
    return {
        RowKey(STARTS[start], display_name(name)): _scores_of(figures)
        for start, networks in published()["table8_supervised"].items()
        for name, figures in networks.items()
    }


def published_splits() -> PublishedRows:
    """Return the scores of Table 9."""
    groups = {"without_overlap": WITHOUT, "with_overlap": WITH, "softmax": SOFTMAX}
    return {
        RowKey(group, f"{row['train']}-{row['valid']}"): {"MS": metrics_of(row)}
        for key, group in groups.items()
        for row in published()["table9_splits_on_MS"][key]
    }


def published_cross_domain(groups: Sequence[str]) -> PublishedRows:
    """Return the scores of Table 10, repeated in each of the given groups of rows."""
    rows = published()["table10_cross_domain"]
    return {RowKey(group, display_name(name)): _scores_of(row) for group in groups for name, row in rows.items()}


def published_alignment(groups: Sequence[str]) -> PublishedRows:
    """Return the scores of Table 11, repeated in each of the given groups of rows."""
    rows = published()["table11_sam"]
    return {RowKey(group, name): _scores_of(row) for group in groups for name, row in rows.items()}


def _scores_of(row: Mapping[str, Any]) -> dict[str, Scores]:
    return {code: metrics_of(figures) for code, figures in row.items() if isinstance(figures, dict)}


def metrics_of(figures: Mapping[str, float]) -> Scores:
    return {PAPER_METRICS[name]: value for name, value in figures.items() if name in PAPER_METRICS}


def columns_of(rows: PublishedRows) -> list[str]:
    return list(dict.fromkeys(code for figures in rows.values() for code in figures))


def display_name(paper_name: str) -> str:
    return "ResNet-50" if paper_name == "ResNet50" else paper_name


def paper_name(display_name: str) -> str:
    return "ResNet50" if display_name == "ResNet-50" else display_name
