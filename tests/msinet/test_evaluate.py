"""Embeddings of a store: in its order, in evaluation mode, and equal for every batch size."""

from dataclasses import replace

import pytest
import torch
from support.exports import LIBRARIES, WITHOUT_EXTRA, trained
from support.tiny_data import Tiny

from msinet.data.packed import ImageStore
from msinet.data.transforms import normalise
from msinet.engine.evaluate import embed, rank_records
from msinet.export.compiled import in_runtime
from msinet.export.form import ExportForm
from msinet.interop.card import Card
from msinet.metrics import evaluate_ranking
from msinet.models import build_model
from msinet.recipes import TrainRecipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tiny: Tiny) -> ImageStore:
    return tiny.store(tiny.records("gallery"))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """Return a network whose running statistics and necks differ from those of a fresh network."""
    torch.manual_seed(0)
    model = build_model("msinet", num_classes=3, genotype="MSINet").train()
    with torch.no_grad():
        model(torch.randn(8, 3, 32, 16))
    return model


def test_every_picture_in_order(store, model):
    result = embed(model, store, CPU, batch_size=4)
    assert result.shape == (len(store), 768)
    assert result.dtype == torch.float32
    model.eval()
    with torch.no_grad():
        one_by_one = [model.embed(normalise(store.gather([index]))) for index in range(len(store))]
    torch.testing.assert_close(result, torch.cat(one_by_one), rtol=1e-5, atol=1e-5)
    assert (result - result[0]).norm(dim=1)[1:].min() > 1e-3
    assert (result.norm(dim=1) - 1).abs().min() > 1e-3  # not normalised


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_the_size_of_a_batch_does_not_matter(store, model, batch_size):
    expected = embed(model, store, CPU, batch_size=5)
    torch.testing.assert_close(embed(model, store, CPU, batch_size=batch_size), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_another_runtime_gives_equal_scores(tiny, runtime):
    for library in LIBRARIES:
        pytest.importorskip(library, reason=WITHOUT_EXTRA)
    records = [*tiny.records("query"), *tiny.records("gallery")]
    store = tiny.store(records)
    model, card = trained("osnet", scales=(3,)), Card("osnet", {"scales": [3]}, 0, (32, 16))
    run = in_runtime(model, card, runtime, threads=1, form=ExportForm(model, normalised=False))
    both = [embed(model, store, CPU, run=how) for how in (None, run)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5 * float(both[0].abs().max()))
    before, after = (rank_records(records, embedding_ND, "fixed", rerank=False)[0] for embedding_ND in both)
    assert after == pytest.approx(before, abs=1e-4)


def test_the_network_is_only_read(store, model):
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = embed(model, store, CPU)
    assert model.training
    assert not result.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    torch.nn.Linear(768, 2)(result).sum().backward()  # a layer can be trained on the embeddings


def test_augmentation_plays_no_part(tiny, model):
    batches = [
        tiny.batches("train", replace(TrainRecipe(batch_size=8, num_instances=2), augmentation=augmentation))
        for augmentation in (TrainRecipe().augmentation, replace(TrainRecipe().augmentation, erasing=1.0, flip=1.0))
    ]
    first, second = (next(side.epoch(0)) for side in batches)
    assert not torch.equal(first.images_BCHW, second.images_BCHW)
    embeddings = [embed(model, side.store, CPU) for side in batches]
    assert torch.equal(*embeddings)


def test_after_the_necks(store, model):
    before, after = (embed(model, store, CPU, after_neck=after_neck) for after_neck in (False, True))
    assert after.shape == before.shape
    model.eval()
    heads = (model.global_head, model.part_head)
    with torch.no_grad():
        expected = [head.after_neck(part) for head, part in zip(heads, before.split((512, 256), dim=1), strict=True)]
    torch.testing.assert_close(after, torch.cat(expected, dim=1), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after, before)


def test_embeddings_can_be_ranked(tiny, store, model):
    sides = [tiny.records("query"), tiny.records("gallery")]
    embeddings = [embed(model, tiny.store(side), CPU) for side in sides]
    pids, camids = ([[getattr(r, name) for r in side] for side in sides] for name in ("pid", "camid"))
    result = evaluate_ranking(*embeddings, *pids, *camids)
    assert result.num_valid_queries == len(sides[0]) == 3
    assert 0 < result.mAP <= 1
