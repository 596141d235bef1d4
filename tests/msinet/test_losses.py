import math

import numpy as np
import pytest
import torch
from support.golden_draw import draw, fill_state, load
from torch.nn.functional import cross_entropy

from msinet.losses import batch_hard_triplet, memory_contrastive, spatial_alignment, update_memory
from msinet.models.alignment import SpatialAlignment

GOLDEN = load("losses")
LABELS = torch.tensor(GOLDEN["triplet_batch_hard"]["labels"])
MODES = ("pos", "neg", "pos_neg")


def drawn(tag, shape):
    return torch.from_numpy(draw(tag, shape))


def unit(x):
    return np.asarray(x, np.float64) / np.linalg.norm(np.asarray(x, np.float64))


def slow_memory_loss(features, labels, memory, temperature):
    losses = []
    for feature, label in zip(features.numpy(), labels.tolist(), strict=True):
        similarity = [float(unit(feature) @ entry) / temperature for entry in memory.double().numpy()]
        losses.append(math.log(sum(map(math.exp, similarity))) - similarity[label])
    return np.mean(losses)


def slow_update(memory, features, labels, momentum):
    memory = memory.double().numpy().copy()
    for feature, label in zip(features.numpy(), labels.tolist(), strict=True):
        memory[label] = unit(momentum * memory[label] + (1 - momentum) * unit(feature))
    return memory


def slow_triplet(features, labels, margin):
    vectors = [unit(feature) for feature in features.numpy()]
    losses = []
    for anchor, label in zip(vectors, labels, strict=True):
        distances = [np.linalg.norm(anchor - other) for other in vectors]
        positive = max(d for d, other in zip(distances, labels, strict=True) if other == label)
        negative = min(d for d, other in zip(distances, labels, strict=True) if other != label)
        losses.append(max(0.0, positive - negative + margin))
    return np.mean(losses)


def slow_alignment(feature_map, labels, module, mode, sam_softmax):
    maps = feature_map.double().flatten(2).numpy()
    labels, images = labels.tolist(), range(len(labels))
    activation = {(g, p): unit((maps[p].T @ maps[g]).max(1)) for g in images for p in images}
    query, key = (conv(feature_map).flatten(2).detach().double().numpy() for conv in (module.query, module.key))
    pos, neg = [], []
    for g in images:
        energy = query[g].T @ key[g]
        if sam_softmax:
            energy = np.exp(energy) / np.exp(energy).sum(1, keepdims=True)
        attention = unit(energy.max(1))
        pos += [1 - attention @ activation[g, p] for p in images if labels[p] == labels[g]]
        negatives = [activation[g, p] for p in images if labels[p] != labels[g]]
        neg += [1 - a @ b for a in negatives for b in negatives]
    return ("pos" in mode) * np.mean(pos) + ("neg" in mode) * np.mean(neg)


def test_golden_memory_loss_gradient_and_memory():
    golden = GOLDEN["memory_contrastive"]
    memory = torch.zeros(golden["classes"], golden["dim"])
    for step in range(3):
        features = drawn(f"memory-step-{step}", (16, 512)).requires_grad_()
        loss = memory_contrastive(features, LABELS, memory, golden["temperature"])
        loss.backward()
        update_memory(memory, features, LABELS, golden["momentum"])
        assert loss.item() == pytest.approx(golden["loss_per_step"][step], rel=1e-4)
        assert features.grad.norm().item() == pytest.approx(golden["gradient_l2_per_step"][step], rel=1e-4)
    after = golden["memory_after"]
    assert list(memory.shape) == after["shape"]
    assert memory.mean().item() == pytest.approx(after["mean"], rel=1e-4)
    assert memory.norm().item() == pytest.approx(after["l2"], rel=1e-4)
    torch.testing.assert_close(memory.flatten()[:8], torch.tensor(after["first8"]), rtol=1e-4, atol=0)
    assert not memory[4:].any()  # identities that were in no batch


def test_memory_loss_against_a_loop():
    memory = torch.nn.functional.normalize(drawn("memory", (5, 8)))
    features, labels = drawn("features-small", (7, 8)), torch.tensor([4, 0, 0, 2, 3, 4, 1])
    loss = memory_contrastive(features, labels, memory, temperature=0.3)
    assert loss.item() == pytest.approx(slow_memory_loss(features, labels, memory, 0.3), rel=1e-5)


@pytest.mark.parametrize("num_instances", [None, 4, 6])
def test_memory_update_follows_the_batch_order(num_instances):
    labels = torch.tensor([2, 0, 2, 4, 2, 0, 2])
    memory = torch.nn.functional.normalize(drawn("memory", (5, 8)))
    memory[4] = 0
    features = drawn("features-small", (7, 8))
    expected = slow_update(memory, features, labels, 0.2)
    reversed_order = slow_update(memory, features.flip(0), labels.flip(0), 0.2)
    assert np.abs(expected - reversed_order).max() > 0.1  # the order matters, so this test can fail
    update_memory(memory, features, labels, 0.2, num_instances=num_instances)
    np.testing.assert_allclose(memory.numpy(), expected, atol=1e-6)


def test_memory_update_of_a_zero_feature_stays_finite():
    memory = torch.zeros(2, 4)
    update_memory(memory, torch.zeros(1, 4), torch.tensor([1]))
    assert not memory.any()


def test_the_memory_loss_reaches_the_features_only():
    memory = torch.nn.functional.normalize(drawn("memory", (4, 8))).requires_grad_()
    features = drawn("features-small", (16, 8)).requires_grad_()
    memory_contrastive(features, LABELS, memory).backward()
    assert features.grad.any()
    assert memory.grad is None


def test_golden_triplet():
    golden = GOLDEN["triplet_batch_hard"]
    loss = batch_hard_triplet(drawn(*golden["features"]), LABELS, golden["margin"])
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-4)


def test_triplet_against_a_loop_with_unequal_identities():
    features, labels = drawn("triplet", (9, 3)), torch.tensor([1, 1, 0, 2, 0, 1, 2, 2, 3])
    loss = batch_hard_triplet(features, labels, margin=0.7)
    assert loss.item() == pytest.approx(slow_triplet(features, labels.tolist(), 0.7), rel=1e-5)


def test_triplet_of_points_on_a_circle():
    angles = torch.tensor([0.0, 60.0, 90.0, 180.0]).deg2rad()
    features = 5 * torch.stack([angles.cos(), angles.sin()], 1)
    chord = [2 * math.sin(math.radians(degrees) / 2) for degrees in (60, 90, 30, 90)]
    # Positives: 0-60 and 90-180; nearest negatives: 0→90, 60→90, 90→60, 180→60.
    losses = [
        chord[0] - chord[1] + 0.3,
        chord[0] - chord[2] + 0.3,
        chord[3] - chord[2] + 0.3,
        chord[3] - 2 * math.sin(math.radians(60)) + 0.3,
    ]
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
    assert loss.item() == pytest.approx(np.mean([max(0, x) for x in losses]), rel=1e-5)


def test_triplet_gradient_is_finite_for_copies_and_without_negatives():
    features = drawn("triplet", (2, 3)).repeat_interleave(2, 0).requires_grad_()
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=3.0).backward()
    assert features.grad.isfinite().all()
    features.grad = None
    loss = batch_hard_triplet(features, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()


def test_golden_label_smoothing():
    golden = GOLDEN["cross_entropy_smooth"]
    loss = cross_entropy(drawn(*golden["logits"]), LABELS, label_smoothing=golden["epsilon"])
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-4)


@pytest.fixture(scope="module")
def golden_module():
    """Return the module with weights drawn under the golden key names, those of the released checkpoints."""
    module = SpatialAlignment()
    shapes = {
        f"{part}.{kind}": getattr(getattr(module, part), kind).shape
        for part in ("query", "key")
        for kind in ("weight", "bias")
    }
    released = {name: f"align_module.pos_pam.{name.replace('.', '_conv.')}" for name in shapes}
    filled = fill_state({released[name]: shape for name, shape in shapes.items()})
    module.load_state_dict({name: filled[released[name]] for name in shapes})
    return module


@pytest.mark.parametrize("sam_softmax", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_golden_alignment(golden_module, mode, sam_softmax):
    golden = GOLDEN["spatial_alignment"]
    tag, shape, _ = golden["feature_map"]
    with torch.no_grad():
        loss = spatial_alignment(drawn(tag, shape).relu(), LABELS, golden_module, mode, sam_softmax=sam_softmax)
    assert loss.item() == pytest.approx(golden["loss_sam_softmax" if sam_softmax else "loss"][mode], rel=1e-4)


@pytest.mark.parametrize("sam_softmax", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_alignment_against_a_loop(mode, sam_softmax):
    torch.manual_seed(0)
    module = SpatialAlignment(16, 4)
    feature_map, labels = drawn("small-map", (6, 16, 3, 2)).relu(), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = spatial_alignment(feature_map, labels, module, mode, sam_softmax=sam_softmax)
    expected = slow_alignment(feature_map, labels, module, mode, sam_softmax)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_alignment_gradients():
    module = SpatialAlignment(16, 4)
    feature_map = drawn("small-map", (4, 16, 3, 2)).relu().requires_grad_()
    spatial_alignment(feature_map, torch.tensor([0, 0, 1, 1]), module, "pos_neg").backward()
    for tensor in (feature_map, *module.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


def test_alignment_of_a_bf16_map_differs_by_rounding_alone():
    module = SpatialAlignment(16, 4)
    found = drawn("small-map-16", (16, 16, 4, 2)).relu().bfloat16().requires_grad_()
    expected = found.detach().float().requires_grad_()
    losses = [spatial_alignment(feature_map, LABELS, module, "pos_neg") for feature_map in (found, expected)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-3)
    difference = (found.grad.float() - expected.grad).norm() / expected.grad.norm()
    assert difference < 0.02  # bf16 has 8 bits, so the other one of two nearly equal positions may be chosen


def test_alignment_of_an_unknown_mode():
    with pytest.raises(ValueError, match="pos, neg, pos_neg, but got 'positive'"):
        spatial_alignment(torch.ones(2, 16, 1, 1), torch.tensor([0, 1]), SpatialAlignment(16, 4), "positive")


def test_autocast_changes_nothing():
    torch.manual_seed(0)
    module = SpatialAlignment(16, 4)
    memory = torch.nn.functional.normalize(drawn("memory", (4, 16)))
    features = drawn("features-16", (16, 16)).bfloat16()
    feature_map = drawn("small-map-16", (16, 16, 2, 2)).relu().bfloat16()

    def losses():
        return [
            memory_contrastive(features, LABELS, memory),
            batch_hard_triplet(features, LABELS),
            spatial_alignment(feature_map, LABELS, module, "pos_neg"),
        ]

    expected = losses()
    with torch.autocast("cpu", torch.bfloat16):
        actual = losses()
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
