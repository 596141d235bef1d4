"""Networks and supernets of spaces other than the paper's, and each operation against a slow, obvious loop."""

import random

import pytest
import torch
from support.networks import assert_every_parameter_learns, one_hot_supernet, small_images
from torch.nn.functional import instance_norm

from msinet import build_model
from msinet.genotype import Genotype
from msinet.models import MSINet, Supernet, count_parameters
from msinet.models.deploy import deployed
from msinet.models.interactions import build_operation
from msinet.spaces import PAPER_SPACE, SHIPPED, Space, load
from msinet.spaces.operations import LETTER_OF, PAPER_OPERATIONS

UNEVEN = Space(
    "uneven",
    (("sum", "to_larger"), PAPER_OPERATIONS, *[("concat_project", "spatial_gate", "none")] * 9, ("exchange",)),
    (3, 5, 9),
    0.25,
    (1, 6),
)
SPACES = [*map(load, SHIPPED[1:]), UNEVEN]
EACH_SPACE = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
EACH_OPERATION = pytest.mark.parametrize("operation", LETTER_OF)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def branches(num: int, channels: int = 32):
    return [torch.randn(2, channels, 3, 5, dtype=torch.float64) for _ in range(num)]


def slow(operation: str, module, maps):
    """Return what an operation returns, computed position by position or channel by channel."""
    num, (_, channels, height, width) = len(maps), maps[0].shape
    if operation == "none":
        return list(maps)
    if operation == "exchange":
        return [maps[(index + 1) % num] for index in range(num)]
    if operation == "sum":
        return [torch.stack(maps).sum(0)] * num
    if operation == "to_larger":
        return [maps[0], *(maps[index] + maps[index - 1] for index in range(1, num))]
    if operation == "to_smaller":
        return [*(maps[index] + maps[index + 1] for index in range(num - 1)), maps[-1]]
    results = [torch.zeros_like(map_BCHW) for map_BCHW in maps]
    if operation == "concat_project":
        conv, norm = module.project.conv, module.project.bn
        together = torch.cat(maps, 1)
        summed = torch.zeros_like(together)
        for row in range(num * channels):
            for column in range(num * channels):
                summed[:, row] += conv.weight[row, column, 0, 0] * together[:, column]
        mean, variance = summed.mean((0, 2, 3), keepdim=True), summed.var((0, 2, 3), correction=0, keepdim=True)
        projected = ((summed - mean) / (variance + norm.eps).sqrt()).clamp(min=0)
        return [projected[:, index * channels : (index + 1) * channels] for index in range(num)]
    for index, own in enumerate(maps):
        partner = maps[(index + 1) % num]
        for image in range(len(own)):
            if operation == "channel_gate":
                hidden = module.gate.fc1.weight[:, :, 0, 0] @ own[image].mean((1, 2)) + module.gate.fc1.bias
                gate = module.gate.fc2.weight[:, :, 0, 0] @ hidden.clamp(min=0) + module.gate.fc2.bias
                results[index][image] = own[image] * gate.sigmoid()[:, None, None]
            elif operation == "cross_attention":
                for row in range(channels):
                    energy = torch.stack([(own[image, row] * partner[image, c]).sum() for c in range(channels)])
                    weights = (energy.max() - energy).softmax(0)
                    mixed = sum(weight * own[image, c] for c, weight in enumerate(weights))
                    results[index][image, row] = own[image, row] + module.gamma * mixed
            else:
                assert operation == "spatial_gate"
                summary = torch.stack([own[image].mean(0), own[image].amax(0)])
                for y in range(height):
                    for x in range(width):
                        total = module.conv.bias[0]
                        for dy in range(-3, 4):
                            for dx in range(-3, 4):
                                if 0 <= y + dy < height and 0 <= x + dx < width:
                                    weight = module.conv.weight[0, :, dy + 3, dx + 3]
                                    total = total + (weight * summary[:, y + dy, x + dx]).sum()
                        results[index][image, :, y, x] = own[image, :, y, x] * total.sigmoid()
    return results


@EACH_OPERATION
@pytest.mark.parametrize("num", [2, 3, 4])
def test_each_operation_is_its_slow_loop(operation, num):
    maps = branches(num, channels=16)
    module = build_operation(operation, 16, num).double()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim != 1 or operation != "concat_project":  # its norm stays that of a new network
                parameter.normal_(std=0.3)
        outputs = module(*maps)
        expected = slow(operation, module, maps)
    assert len(outputs) == num
    for output, slowly in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, slowly)


@EACH_SPACE
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_one_hot_supernet_is_the_derived_network_bit_for_bit(space, training, autocast):
    genotype = Genotype.draw(random.Random(training), space)
    supernet = one_hot_supernet(genotype).to(memory_format=torch.channels_last).train(training)
    assert supernet.derive() == genotype
    network = MSINet(genotype, num_classes=3)
    supernet.load_into(network)
    network.to(memory_format=torch.channels_last).train(training)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        part_map, last_map = supernet.maps(small_images())
        expected_part_map, expected_last_map = network.maps(small_images())
    assert torch.equal(part_map, expected_part_map)
    assert torch.equal(last_map, expected_last_map)
    assert last_map.any()


@EACH_SPACE
def test_every_parameter_of_a_supernet_learns(space):
    supernet = Supernet(num_classes=5, space=space)
    with torch.no_grad():
        supernet.alphas.mul_(100)
    logits = supernet.logits(supernet(small_images()))
    assert_every_parameter_learns(supernet, (logits * torch.randn_like(logits)).sum())
    for row_O, columns in zip(supernet.alphas.grad, supernet.choices, strict=True):
        offered = row_O[list(columns)]
        assert offered.any() == (len(columns) > 1)
        assert row_O.count_nonzero() == offered.count_nonzero()


@EACH_SPACE
def test_every_parameter_of_a_network_learns(space):
    network = MSINet(Genotype.draw(random.Random(1), space), num_classes=5)
    outputs = network(small_images())
    assert outputs.feature_map.shape[1] == network.map_channels == space.channels[-1]
    loss = sum((output * torch.randn_like(output)).sum() for output in (*outputs.features, *outputs.logits))
    assert_every_parameter_learns(network, loss)


@EACH_OPERATION
def test_every_parameter_learns_where_one_operation_is_everywhere(operation):
    space = Space("one", ((operation,),) * 12, (3, 5, 7), 0.25)
    network = MSINet(Genotype(LETTER_OF[operation] * 12, space), num_classes=3)
    for name, parameter in network.named_parameters():
        if "gate.fc1" in name:  # by chance all units of a small gate may be dead
            parameter.data.abs_()
    assert_every_parameter_learns(network, sum(logits.logsumexp(1).sum() for logits in network(small_images()).logits))


@EACH_SPACE
def test_a_deployed_network_gives_the_same_embeddings(space):
    network = MSINet(Genotype.draw(random.Random(2), space), num_classes=3)
    network(small_images())  # running statistics other than those of a new network
    network.eval()
    images = small_images(2)
    with torch.no_grad():
        torch.testing.assert_close(deployed(network).embed(images), network.embed(images), rtol=1e-3, atol=1e-3)


def test_instance_norm_is_that_of_each_picture_alone():
    cell = MSINet("N" * 12, 0, Space("in", instance_norm=(1,))).backbone.cells[0].double()
    x_BCHW = torch.randn(3, 64, 6, 4, dtype=torch.float64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        cell.norm.weight.normal_()
        cell.norm.bias.normal_()
        a, b = cell.branches(x_BCHW, ((), ()))
        summed = cell.leave_a(a) + cell.leave_b(b)
        normed = instance_norm(summed, weight=cell.norm.weight, bias=cell.norm.bias)
        expected = (normed + cell.shortcut(x_BCHW)).relu()
        actual = cell(x_BCHW, ((), ()))
    torch.testing.assert_close(actual, expected)
    assert actual.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "parameters"), [("half_width", 0.25), ("four_branches", 1.72), ("instance_norm", 1.0)]
)
def test_spaces_have_the_sizes_that_their_files_promise(name, parameters):
    letters = "GGEGAGGNGAEA"
    size = count_parameters(build_model("msinet", num_classes=3, genotype=letters, space=name))
    assert size == pytest.approx(parameters * 2_328_035, rel=0.05)


def test_genotypes_of_other_spaces_build_from_their_options_alone():
    genotype = Genotype.draw(random.Random(0), UNEVEN)
    model = build_model("msinet", num_classes=3, **genotype.options)
    assert model.genotype == genotype
    assert build_model("msinet", num_classes=0, genotype=genotype).genotype == genotype
    with pytest.raises(ValueError, match="slot 1 of a genotype of the space uneven"):
        build_model("msinet", num_classes=3, genotype="N" * 12, space=UNEVEN)


def test_the_papers_supernet_keeps_its_fast_mixture():
    assert {type(cell.first_interaction).__name__ for cell in Supernet().backbone.cells} == {"MixedInteraction"}
    assert Supernet().offered_alphas() is not None
    assert Supernet(space=PAPER_SPACE).alphas.shape == (12, 4)
