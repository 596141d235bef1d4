"""What each alignment makes equal and what it does not touch, compared with loops over positions."""

import itertools
import math

import numpy as np
import pytest
import torch
from support.golden_draw import draw
from torch import Tensor

from msinet.losses import activation_distribution, consistent_attention
from msinet.models.alignment import TOGETHER, mutual_activation

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
SHAPES = ((6, 8, 12, 4), (6, 16, 6, 2), (6, 24, 3, 2))


def drawn(tag: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(draw(tag, shape)).relu()


def drawn_maps(shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Tensor]:
    return [drawn(f"map-{number}", shape) for number, shape in enumerate(shapes)]


def one_attention(*scales: float) -> list[Tensor]:
    """Return maps of layers that respond at the same places, each with its own channels and strength."""
    attention_BHW = drawn("attention", (6, 3, 2)) + 0.1
    maps = []
    for number, scale in enumerate(scales):
        channels = 4 + number
        direction_C = torch.from_numpy(draw(f"direction-{number}", (channels,)))
        map_BCHW = attention_BHW.sqrt()[:, None] * direction_C[:, None, None]
        factor = 2 ** (len(scales) - 1 - number)  # finer layers respond equally in the whole area of a coarse position
        maps.append(scale * map_BCHW.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    return maps


def slow_cosine(first: list[float], second: list[float]) -> float:
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))


def slow_activation(map_CHW: np.ndarray, rows: range, columns: range) -> float:
    """Return the mean over an area of the sum over channels of squares."""
    return float(np.mean([sum(value**2 for value in map_CHW[:, y, x]) for y in rows for x in columns]))


def bins(length: int, count: int) -> list[range]:
    """Return `count` areas that cover `length` positions; they overlap where `count` does not divide `length`."""
    return [range(i * length // count, math.ceil((i + 1) * length / count)) for i in range(count)]


def slow_consistent_attention(maps: list[Tensor]) -> float:
    height, width = maps[-1].shape[2:]
    losses = []
    for image in range(len(maps[0])):
        attentions = []
        for map_CHW in (map_BCHW[image].double().numpy() for map_BCHW in maps):
            areas = itertools.product(bins(map_CHW.shape[1], height), bins(map_CHW.shape[2], width))
            attentions.append([slow_activation(map_CHW, rows, columns) for rows, columns in areas])
        losses += [1 - slow_cosine(a, b) for a, b in itertools.combinations(attentions, 2)]
    return float(np.mean(losses))


def slow_activation_distribution(feature_map: Tensor, labels: list[int]) -> float:
    images, (height, width) = range(len(labels)), feature_map.shape[2:]
    distributions = []
    for map_CHW in feature_map.double().numpy():
        rows = [slow_activation(map_CHW, range(y, y + 1), range(width)) for y in range(height)]
        distributions.append([row / sum(rows) for row in rows])
    pairs = [(g, p) for g in images for p in images if g != p and labels[g] == labels[p]]
    return float(np.mean([1 - slow_cosine(distributions[g], distributions[p]) for g, p in pairs]))


@pytest.mark.parametrize("num_images", [1, 5, TOGETHER, 2 * TOGETHER + 3])
def test_mutual_activation_and_its_gradient_against_all_products(num_images):
    feature_map = torch.from_numpy(draw("mutual", (num_images, 6, 3, 2))).double()
    weight_BBM = torch.from_numpy(draw("weights", (num_images, num_images, 6))).double()
    ours, theirs = (feature_map.clone().requires_grad_() for _ in range(2))
    products_GNPM = torch.einsum("gcn,pcm->gnpm", theirs.flatten(2), theirs.flatten(2))
    expected_BBM = products_GNPM.amax(1)
    found_BBM = mutual_activation(ours)
    torch.testing.assert_close(found_BBM, expected_BBM, rtol=1e-12, atol=1e-12)
    for activation_BBM in (found_BBM, expected_BBM):
        (activation_BBM * weight_BBM).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shapes", [SHAPES, SHAPES[:2], ((2, 8, 11, 5), (2, 16, 6, 3), (2, 24, 5, 3))])
def test_consistent_attention_against_a_loop(shapes):
    maps = drawn_maps(shapes)
    assert consistent_attention(maps).item() == pytest.approx(slow_consistent_attention(maps), rel=1e-5)


def test_layers_that_respond_at_the_same_places_are_consistent():
    for scales in ((1.0, 1.0), (1.0, 1.0, 1.0), (3.0, 0.2, 1.0)):
        assert consistent_attention(one_attention(*scales)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("layer", range(3))
def test_a_layer_that_responds_elsewhere_is_inconsistent(layer):
    maps = one_attention(1.0, 1.0, 1.0)
    maps[layer] = maps[layer].roll(maps[layer].shape[2] // 3, 2)
    assert consistent_attention(maps) > 0.1


def test_layers_that_respond_nowhere_together_are_as_inconsistent_as_can_be():
    upper, lower = torch.zeros(2, 1, 5, 4, 2).unbind()
    upper[:, :, :2], lower[:, :, 2:] = 1, 1
    assert consistent_attention([upper, lower]).item() == 1
    assert consistent_attention([upper, upper, lower]).item() == pytest.approx(2 / 3)  # one pair of three agrees


def test_consistent_attention_is_of_each_image_alone():
    maps = drawn_maps()
    alone = [consistent_attention([map_BCHW[image : image + 1] for map_BCHW in maps]) for image in range(6)]
    assert consistent_attention(maps).item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)
    shuffled = [map_BCHW[[3, 5, 1, 0, 2, 4]] for map_BCHW in maps]
    assert consistent_attention(shuffled).item() == pytest.approx(consistent_attention(maps).item(), rel=1e-5)


def test_consistent_attention_leaves_strength_and_channels_free():
    maps = drawn_maps()
    changed = [maps[0].flip(1), 7 * maps[1], maps[2] * torch.arange(1.0, 7)[:, None, None, None]]
    assert consistent_attention(changed).item() == pytest.approx(consistent_attention(maps).item(), rel=1e-5)


@pytest.mark.parametrize("labels", [LABELS, torch.tensor([0, 0, 0, 3, 3, 1])])
def test_activation_distribution_against_a_loop(labels):
    feature_map = drawn("small-map", (6, 16, 5, 3))
    expected = slow_activation_distribution(feature_map, labels.tolist())
    assert activation_distribution(feature_map, labels).item() == pytest.approx(expected, rel=1e-5)


def test_images_that_respond_at_the_same_heights_are_aligned():
    identities = drawn("small-map", (3, 16, 5, 4))
    # The second image of each identity is mirrored, with other channels and another strength.
    again = 3 * identities.flip(3).roll(5, 1)
    feature_map = torch.cat([identities, again])
    assert activation_distribution(feature_map, LABELS).item() == pytest.approx(0, abs=1e-6)
    unlike = activation_distribution(feature_map, torch.tensor([0, 1, 2, 1, 2, 0]))
    assert unlike > 1e-3  # the loss ignores different identities; if they are labelled as one, they are not aligned


def test_images_that_respond_at_other_heights_are_not_aligned():
    rows_H = torch.tensor([8.0, 4, 2, 1, 0, 0])
    feature_map = rows_H[:, None].sqrt().expand(2, 3, 6, 4).clone()
    losses = []
    for shift in range(3):
        feature_map[1] = rows_H.roll(shift)[:, None].sqrt()
        losses.append(activation_distribution(feature_map, torch.tensor([0, 0])).item())
    assert losses == pytest.approx([0, 1 - (32 + 8 + 2) / 85, 1 - (16 + 4) / 85], abs=1e-6)


def test_images_that_share_no_row_are_as_far_as_can_be():
    feature_map = torch.zeros(2, 3, 4, 2)
    feature_map[0, :, :2], feature_map[1, :, 2:] = 1, 1
    assert activation_distribution(feature_map, torch.tensor([5, 5])).item() == 1


def test_the_alternatives_have_gradients():
    maps = [map_BCHW.requires_grad_() for map_BCHW in drawn_maps()]
    consistent_attention(maps).backward()
    feature_map = drawn("small-map", (6, 16, 5, 3)).requires_grad_()
    activation_distribution(feature_map, LABELS).backward()
    for tensor in (*maps, feature_map):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.flatten(1).any(1).all()


def test_gradients_lead_to_what_is_equalised():
    maps = [map_BCHW.requires_grad_() for map_BCHW in drawn_maps()]
    feature_map = drawn("small-map", (6, 16, 5, 3)).requires_grad_()
    for tensors, loss in (
        (maps, lambda: consistent_attention(maps)),
        ([feature_map], lambda: activation_distribution(feature_map, LABELS)),
    ):
        optimizer = torch.optim.Adam(tensors, lr=0.02)
        first = loss().item()
        for _ in range(60):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        assert loss().item() < 0.02 * first


def test_maps_without_any_response_keep_the_gradient_finite():
    maps = [torch.zeros(shape, requires_grad=True) for shape in SHAPES]
    (consistent_attention(maps) + activation_distribution(maps[-1], LABELS)).backward()
    assert all(map_BCHW.grad.isfinite().all() for map_BCHW in maps)


def test_autocast_changes_nothing():
    maps = [map_BCHW.bfloat16() for map_BCHW in drawn_maps()]
    expected = consistent_attention(maps), activation_distribution(maps[-1], LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        actual = consistent_attention(maps), activation_distribution(maps[-1], LABELS)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
