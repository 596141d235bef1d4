"""The nearest images, found block by block, compared with a full sort."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msinet import retrieval
from msinet.retrieval import nearest

Embeddings = tuple[NDArray[np.float32], NDArray[np.float32]]


def embeddings() -> Embeddings:
    """Return 11 queries and 230 gallery images with few distinct directions, so that many similarities are equal."""
    rng = np.random.default_rng(0)
    directions = rng.integers(-1, 2, (60, 5)).astype(np.float32) + np.float32(0.1)
    return directions[:11], directions[rng.integers(0, 60, 230)]


def full_sort(query_QD: NDArray[np.float32], gallery_GD: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query_QD, gallery_GD)]
    similarity_QG = np.round((unit[0] @ unit[1].T).astype(np.float64), 5)
    return np.argsort(-similarity_QG, axis=1, kind="stable")[:, :k]


@pytest.fixture(params=[1, 7, 64, 1000])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", 11 * request.param)


@pytest.fixture(params=["compiled", "device"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "device":
        monkeypatch.setattr(retrieval, "_update_on_cpu", retrieval._update_on_device)


@pytest.mark.usefixtures("small_blocks", "both_ways")
@pytest.mark.parametrize("k", [1, 20, 230, 500])
def test_the_nearest_are_those_of_a_full_sort(k: int) -> None:
    query_QD, gallery_GD = embeddings()
    similarity_QK, index_QK = nearest(query_QD, gallery_GD, k)
    expected_QK = full_sort(query_QD, gallery_GD, k)
    assert (similarity_QK.dtype, index_QK.dtype, index_QK.shape) == (np.float32, np.int64, (11, min(k, 230)))
    cosine = torch.nn.functional.cosine_similarity
    for q, (similarity_K, index_K) in enumerate(zip(similarity_QK, index_QK, strict=True)):
        found, wanted = (
            cosine(torch.from_numpy(query_QD[q : q + 1]), torch.from_numpy(gallery_GD[places])).numpy()
            for places in (index_K, expected_QK[q])
        )
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        np.testing.assert_allclose(similarity_K, found, atol=1e-6)
        assert len(set(index_K.tolist())) == len(index_K), "no image twice"


@pytest.mark.usefixtures("small_blocks", "both_ways")
def test_equal_similarities_keep_the_order_of_the_gallery() -> None:
    ones = np.ones((100, 2), np.float32)
    ones[50:] *= [[1, -1]]
    _, index_QK = nearest(ones[:3], ones, 60)
    assert index_QK.tolist() == [list(range(60))] * 3


def test_a_gallery_may_be_a_mapped_file(tmp_path: Path) -> None:
    query_QD, gallery_GD = embeddings()
    mapped_GD = np.memmap(tmp_path / "gallery.f32", np.float32, "w+", shape=gallery_GD.shape)
    mapped_GD[:] = gallery_GD
    mapped_GD.flush()
    read_only_GD = np.memmap(tmp_path / "gallery.f32", np.float32, "r", shape=gallery_GD.shape)
    for found, expected in zip(nearest(query_QD, read_only_GD, 9), nearest(query_QD, gallery_GD, 9), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_impossible_calls_are_errors() -> None:
    query_QD, gallery_GD = embeddings()
    with pytest.raises(ValueError, match="`k` must be at least 1, but got 0"):
        nearest(query_QD, gallery_GD, 0)
    with pytest.raises(ValueError, match=r"\(Q, D\) and \(G, D\)"):
        nearest(query_QD, gallery_GD[:, :3], 1)
    gallery_GD[200, 1] = np.inf
    with pytest.raises(ValueError, match="gallery side holds infinity"):
        nearest(query_QD, gallery_GD, 1)
