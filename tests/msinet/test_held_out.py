"""Every picture against all others, compared with a slow loop: with all, some and no cameras."""

import numpy as np
import pytest
import torch

from msinet.data.dataset import DataError
from msinet.data.held_out import has_matches, hold_out
from msinet.data.records import Record
from msinet.engine.held_out import rank_others


def slow_average_precisions(records: list[Record], embedding_ND: torch.Tensor) -> list[float]:
    """Compute average precisions by sorting, one picture at a time; nan where there is no match."""
    unit_ND = embedding_ND.double() / embedding_ND.double().norm(dim=1, keepdim=True)
    found = []
    for q, query in enumerate(records):
        ranked = sorted(range(len(records)), key=lambda g: float(-unit_ND[q] @ unit_ND[g]))
        matches: list[bool] = []
        for g in ranked:
            other = records[g]
            same_camera = query.camid is not None and query.camid == other.camid
            if g == q or (other.pid == query.pid and same_camera):
                continue
            matches.append(other.pid == query.pid)
        precisions = [sum(matches[: k + 1]) / (k + 1) for k, match in enumerate(matches) if match]
        found.append(float(np.mean(precisions)) if precisions else float("nan"))
    return found


@pytest.mark.parametrize("cameras", [[0, 1, 2], [None], [None, 4, None, 5]])
def test_ranks_are_those_of_a_slow_loop(cameras: list[int | None]) -> None:
    records = [Record(f"train/{n:03}.jpg", n % 5, cameras[n % len(cameras)], "train") for n in range(30)]
    embedding_ND = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    scores, per_query = rank_others(records, embedding_ND)
    expected = slow_average_precisions(records, embedding_ND)
    assert per_query["average_precision"] == pytest.approx(expected, nan_ok=True)
    assert scores["mAP"] == pytest.approx(np.nanmean(expected))
    assert per_query["path"] == [record.path for record in records]
    assert per_query["camid"] == [record.camid for record in records]


def test_a_picture_never_finds_itself() -> None:
    records = [Record(f"{n}.jpg", n // 2, None, "train") for n in range(4)]
    scores, _ = rank_others(records, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]]))
    assert scores["rank1"] == 0.0, "the nearest other picture shows somebody else"


@pytest.mark.parametrize(("cameras", "expected"), [((1, 1), False), ((1, 2), True), ((None, None), True)])
def test_what_can_be_scored(cameras: tuple[int | None, int | None], expected: bool) -> None:
    records = [Record(f"{n}.jpg", "a", camid, "train") for n, camid in enumerate(cameras)]
    assert has_matches([*records, Record("b.jpg", "b", 3, "train")]) is expected


def test_held_out_cameras_and_identities_are_seen_by_nobody() -> None:
    records = [Record(f"{pid}_{camid}.jpg", pid, camid, "train") for pid in range(10) for camid in (3, 1, 7, 5)]
    seen, held_out = hold_out(records, 20, cameras=True)
    assert {record.pid for record in seen} == set(range(8))
    assert {record.camid for record in seen} == {1, 3}
    assert [(record.pid, record.camid) for record in held_out] == [(8, 5), (8, 7), (9, 5), (9, 7)]


@pytest.mark.parametrize(("cameras", "found"), [([1, 2], 2), ([1, 2, 3, None], 3)])
def test_cameras_can_only_be_held_out_if_another_one_is_left(cameras: list[int | None], found: int) -> None:
    records = [Record(f"{pid}_{camid}.jpg", pid, camid, "train") for pid in range(5) for camid in cameras]
    with pytest.raises(DataError, match=f"at least 3 of them, but there are {found}"):
        hold_out(records, 20, cameras=True)
