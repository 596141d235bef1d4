import math

import numpy as np
import pytest
import torch
from support.golden_draw import load
from support.golden_retrieval import golden_inputs

from msinet import blocks, metrics
from msinet.metrics import evaluate_distance, evaluate_ranking

GOLDEN = load("retrieval")


def slow_scores(distance_QG, query_pids, gallery_pids, query_camids, gallery_camids):
    """Compute (average precision, inverse negative penalty, rank of the first match) per query by sorting."""
    scores = []
    for q, pid in enumerate(query_pids):
        kept = [
            g
            for g in range(len(gallery_pids))
            if query_camids[q] is None or (gallery_pids[g], gallery_camids[g]) != (pid, query_camids[q])
        ]
        ranked = sorted(kept, key=lambda g: distance_QG[q][g])  # stable: ties keep the gallery's order
        ranks = [rank for rank, g in enumerate(ranked, start=1) if gallery_pids[g] == pid]
        if not ranks:
            scores.append((math.nan, math.nan, -1))
            continue
        precisions = [hits / rank for hits, rank in enumerate(ranks, start=1)]
        scores.append((sum(precisions) / len(ranks), len(ranks) / ranks[-1], ranks[0]))
    return np.array(scores).T


def tied_case(seed):
    """Return distances of few values, nearly all tied. Some queries have no match, some images no camera."""
    generator = np.random.default_rng(seed)
    distance_QG = generator.integers(-2, 3, (23, 61)).astype(np.float32) / 2
    distance_QG[distance_QG == 0] *= generator.choice([-1, 1], (distance_QG == 0).sum())  # −0 ties with 0
    pids = generator.integers(0, 9, 23).tolist(), generator.integers(2, 12, 61).tolist()
    camids = [[None if c == 3 else c for c in generator.integers(0, 4, size).tolist()] for size in (23, 61)]
    return distance_QG, *pids, *camids


def assert_same_scores(result, expected):
    np.testing.assert_allclose(result.average_precision, expected[0], rtol=1e-12)
    np.testing.assert_allclose(result.inverse_negative_penalty, expected[1], rtol=1e-12)
    np.testing.assert_array_equal(result.first_match_rank, expected[2])


@pytest.mark.parametrize(("name", "remove_same_camera"), [("camera_aware", True), ("no_camera", False)])
def test_golden_scores(name, remove_same_camera):
    query, gallery, *labels = golden_inputs()
    result = evaluate_ranking(query, gallery, *labels, remove_same_camera=remove_same_camera)
    assert result.mAP == pytest.approx(GOLDEN[name]["mAP"], rel=1e-6)
    for k, score in GOLDEN[name]["rank"].items():
        assert result.rank(int(k)) == pytest.approx(score, rel=1e-6)
        assert result.cmc[int(k) - 1] == result.rank(int(k))


@pytest.mark.parametrize("cameras", [True, False])
def test_embeddings_against_a_loop(cameras):
    query, gallery, query_pids, gallery_pids, *camids = golden_inputs()
    camids = [side.tolist() for side in camids] if cameras else [[None] * len(query), [None] * len(gallery)]
    points = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query.astype(float), gallery.astype(float))]
    distance_QG = np.linalg.norm(points[0][:, None] - points[1], axis=2)
    expected = slow_scores(distance_QG, query_pids.tolist(), gallery_pids.tolist(), *camids)
    result = evaluate_ranking(query, gallery, query_pids, gallery_pids, *camids)
    assert_same_scores(result, expected)
    assert result.mAP == pytest.approx(expected[0].mean())
    assert result.mINP == pytest.approx(expected[1].mean())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("remove_same_camera", [True, False])
def test_ties_against_a_loop(seed, remove_same_camera):
    distance_QG, query_pids, gallery_pids, query_camids, gallery_camids = tied_case(seed)
    cameras = query_camids if remove_same_camera else [None] * len(query_pids)
    expected = slow_scores(distance_QG, query_pids, gallery_pids, cameras, gallery_camids)
    assert (expected[2] < 0).any()
    result = evaluate_distance(*tied_case(seed), remove_same_camera=remove_same_camera)
    assert_same_scores(result, expected)
    valid = expected[2] > 0
    np.testing.assert_array_equal(result.valid, valid)
    assert (result.num_queries, result.num_valid_queries) == (23, valid.sum())
    assert result.mINP == pytest.approx(expected[1][valid].mean())
    assert result.rank(3) == pytest.approx((expected[2][valid] <= 3).mean())


@pytest.mark.parametrize("seed", range(4))
def test_the_device_path_counts_the_same(seed, monkeypatch):
    expected = evaluate_distance(*tied_case(seed))
    monkeypatch.setattr(metrics, "_score_on_cpu", metrics._score_on_device)
    result = evaluate_distance(*tied_case(seed))
    assert_same_scores(
        result, (expected.average_precision, expected.inverse_negative_penalty, expected.first_match_rank)
    )


def test_blocks_and_threads_do_not_matter(monkeypatch):
    query, gallery, *labels = golden_inputs()
    expected = evaluate_ranking(query, gallery, *labels)
    monkeypatch.setattr(blocks, "BLOCK", 3 * len(gallery))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)  # more threads than rows in a block
    result = evaluate_ranking(query, gallery, *labels)
    assert_same_scores(
        result, (expected.average_precision, expected.inverse_negative_penalty, expected.first_match_rank)
    )


def test_four_points_on_a_circle():
    degrees = np.deg2rad([0, 10, 20, 30, 40])
    points = np.stack([np.cos(degrees), np.sin(degrees)], 1)
    # The gallery's order is b, a (camera 1), a (camera 0), a (camera 2). The third has the query's own camera.
    result = evaluate_ranking(points[:1], 7 * points[1:], ["a"], ["b", "a", "a", "a"], [0], [0, 1, 0, 2], max_rank=3)
    assert result.first_match_rank.tolist() == [2]
    assert result.average_precision.tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2])
    assert result.mINP == pytest.approx(2 / 3)
    assert result.cmc.tolist() == [0, 1, 1]


def test_ties_keep_the_gallery_order():
    embedding = np.ones((1, 2))
    copies = np.ones((3, 2))
    assert evaluate_ranking(embedding, copies, [1], [2, 1, 1], None, None).first_match_rank.tolist() == [2]
    assert evaluate_ranking(embedding, copies, [1], [1, 2, 1], None, None).first_match_rank.tolist() == [1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_any_precision_and_names_as_identities(dtype):
    query, gallery, query_pids, gallery_pids, *camids = golden_inputs()
    query, gallery = (torch.from_numpy(x).to(dtype) for x in (query, gallery))
    expected = evaluate_ranking(query.float(), gallery.float(), query_pids, gallery_pids, *camids)
    names = [np.array([f"name {pid}" for pid in side]) for side in (query_pids, gallery_pids)]
    result = evaluate_ranking(
        query.requires_grad_(), gallery, names[0].tolist(), names[1], *(torch.from_numpy(side) for side in camids)
    )
    np.testing.assert_array_equal(result.first_match_rank, expected.first_match_rank)
    assert result.mAP == expected.mAP


@pytest.mark.parametrize("side", [0, 1])
def test_cameras_of_one_side_alone_are_refused(side):
    names = ("query_camids", "gallery_camids")
    one_side = {names[side]: [1, 2, 3]}
    message = rf"`query_camids` and `gallery_camids` must be given together, but got only `{names[side]}`"
    points, pids = np.eye(3), [1, 2, 3]
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(points, points, pids, pids, **one_side)
    with pytest.raises(ValueError, match=message):
        evaluate_distance(points, pids, pids, **one_side)
    assert evaluate_ranking(points, points, pids, pids, **one_side, remove_same_camera=False).mAP == 1
    assert evaluate_ranking(points, points, pids, pids).mAP == 1


def test_errors():
    points = np.eye(3, 4)

    def fails(message, query=points, gallery=points, pids=((1, 2, 3), (1, 2, 3)), camids=(None, None), **options):
        with pytest.raises(ValueError, match=message):
            evaluate_ranking(query, gallery, *pids, *camids, **options)

    fails(r"\(Q, D\) and \(G, D\), but got \(3, 4\) and \(3, 2\)", gallery=np.eye(3, 2))
    fails(r"\(Q, D\) and \(G, D\), but got \(4,\)", query=points[0])
    fails(r"\(Q, D\) and \(G, D\)", gallery=np.empty((0, 4)))
    fails("finite, but the gallery side", gallery=points * np.nan)
    fails(
        "`pids` must have one entry per image, 3 of queries and 3 of the gallery, but got 3 and 2",
        pids=((1, 2, 3), (1, 2)),
    )
    fails("`camids` must have one entry", camids=((1,), (1, 2, 3)))
    fails("`pids` must be all integers or all strings on both sides, but got int, str", pids=((1, 2, 3), "abc"))
    fails("none of 3 has one", pids=((1, 2, 3), (4, 5, 6)))
    fails("own camera", camids=((1, 1, 1), (1, 1, 1)))
    fails("`max_rank` must be at least 1", max_rank=0)
    with pytest.raises(ValueError, match="shape"):
        evaluate_distance(np.ones(3), [1], [1])
    with pytest.raises(ValueError, match="got nan"):
        evaluate_distance(np.full((1, 1), np.nan), [1], [1])
    with pytest.raises(ValueError, match="`k` must be at least 1"):
        evaluate_distance(np.ones((1, 1)), [1], [1]).rank(0)
