import numpy as np
import pytest
import torch
from support.golden_draw import draw, load
from support.golden_retrieval import golden_inputs

from msinet import blocks
from msinet.metrics import evaluate_distance
from msinet.reranking import Reranking, rerank

GOLDEN = load("retrieval")["re_ranked_k1_20_k2_6_lambda_0.3"]


def slow_rerank(query, gallery, k1, k2, lambda_value):
    """Compute the paper's formulas with dense float64 matrices and sets."""
    points = np.concatenate([query, gallery]).astype(float)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    images = range(len(points))
    distance = ((points[:, None] - points) ** 2).sum(2) ** 2
    order = [sorted(images, key=lambda j: (j != i, distance[i, j], j)) for i in images]  # itself first
    distance /= distance.max(1, keepdims=True)

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encoding = np.zeros_like(distance)
    for i in images:
        expanded = set(reciprocal(i, k1))
        for j in reciprocal(i, k1):
            candidates = reciprocal(j, round(k1 / 2))
            if 3 * len(candidates & reciprocal(i, k1)) > 2 * len(candidates):
                expanded |= candidates
        members = sorted(expanded)
        encoding[i, members] = np.exp(-distance[i, members])
        encoding[i] /= encoding[i].sum()
    encoding = np.array([encoding[order[i][:k2]].mean(0) for i in images])

    result = np.empty((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            a, b = encoding[q], encoding[len(query) + g]
            jaccard = 1 - np.minimum(a, b).sum() / np.maximum(a, b).sum()
            result[q, g] = (1 - lambda_value) * jaccard + lambda_value * distance[q, len(query) + g]
    return result


def test_golden_distance_and_scores():
    query, gallery, *labels = golden_inputs()
    distance_QG = rerank(query, gallery)
    assert distance_QG.dtype == np.float32
    assert list(distance_QG.shape) == GOLDEN["distance"]["shape"]
    assert distance_QG.mean() == pytest.approx(GOLDEN["distance"]["mean"], rel=1e-4)
    assert np.linalg.norm(distance_QG) == pytest.approx(GOLDEN["distance"]["l2"], rel=1e-4)
    np.testing.assert_allclose(distance_QG.ravel()[:8], GOLDEN["distance"]["first8"], rtol=1e-4)
    result = evaluate_distance(distance_QG, *labels)
    assert result.mAP == pytest.approx(GOLDEN["mAP"], rel=1e-4)
    for k, score in GOLDEN["rank"].items():
        assert result.rank(int(k)) == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"), [(20, 6, 0.3), (7, 1, 0.0), (5, 12, 0.9), (1, 2, 0.5), (100, 100, 0.3)]
)
def test_against_a_dense_loop(k1, k2, lambda_value):
    query, gallery = golden_inputs()[:2]
    query, gallery = query[:15], gallery[:50]
    expected = slow_rerank(query, gallery, k1, k2, lambda_value)
    actual = rerank(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_copies_are_ordered_by_position():
    query, gallery = np.eye(4, 8), np.concatenate([np.eye(8)] * 4)  # all distances are exactly 0 or 4
    expected = slow_rerank(query, gallery, 2, 3, 0.3)
    np.testing.assert_allclose(rerank(query, gallery, k1=2, k2=3), expected, atol=1e-6)


@pytest.mark.parametrize(("num_queries", "num_gallery"), [(1, 1), (1, 5), (3, 1)])
def test_few_images(num_queries, num_gallery):
    query, gallery = draw("few-query", (num_queries, 6)), draw("few-gallery", (num_gallery, 6))
    np.testing.assert_allclose(rerank(query, gallery), slow_rerank(query, gallery, 20, 6, 0.3), atol=1e-6)


def test_all_images_at_one_point():
    for size in (3, 4, 7, 300):  # the square roots of most of these are rounded
        distance_QG = rerank(np.ones((2, size)), np.ones((30, size)))
        assert np.isfinite(distance_QG).all()
        assert distance_QG.min() >= -1e-6


def test_blocks_do_not_matter(monkeypatch):
    query, gallery = golden_inputs()[:2]
    expected = rerank(query, gallery)
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    np.testing.assert_allclose(rerank(torch.from_numpy(query), torch.from_numpy(gallery)), expected, atol=1e-6)


def test_scores_come_in_blocks_of_queries(monkeypatch):
    query, gallery, *labels = golden_inputs()
    expected = evaluate_distance(rerank(query, gallery), *labels)
    monkeypatch.setattr(blocks, "BLOCK", 7 * len(gallery))
    reranking, sizes = Reranking(query, gallery), []

    class Counted:
        shape = reranking.shape

        def __getitem__(self, rows):
            sizes.append(rows.stop - rows.start)
            return reranking[rows]

    result = evaluate_distance(Counted(), *labels)
    assert max(sizes) == 7
    assert sum(sizes) == len(query)
    np.testing.assert_allclose(result.average_precision, expected.average_precision, atol=1e-6)
    np.testing.assert_allclose(reranking[3:5], reranking[:][3:5], atol=1e-6)


def test_settings_out_of_range():
    for options in ({"k1": 0}, {"k2": 0}, {"lambda_value": 1.5}):
        with pytest.raises(ValueError, match="at least 1 and `lambda_value` from 0 to 1"):
            rerank(np.eye(2), np.eye(2), **options)
