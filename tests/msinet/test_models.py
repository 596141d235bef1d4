"""MSINet, its operations compared with slow obvious ones, and the properties that all networks share."""

import pytest
import torch
from support.networks import assert_every_parameter_learns, small_images

from msinet.genotype import PUBLISHED, Genotype
from msinet.models import SpatialAlignment, build_model, count_parameters, mutual_activation
from msinet.models.interactions import CrossAttention, build_operation

EVERY_NETWORK = [
    ("msinet", {"genotype": "NGAENGAENGAE"}, (512, 256)),
    ("resnet50", {}, (2048,)),
    ("osnet", {}, (512,)),
    ("osnet", {"scales": (7, 9)}, (512,)),
]
# For each network: channels, height and width of the maps that its losses read, for images of 64×32.
MAPS = {
    "msinet": [(256, 16, 8), (384, 8, 4), (512, 4, 2)],
    "resnet50": [(512, 8, 4), (1024, 4, 2), (2048, 4, 2)],
    "osnet": [(384, 4, 2), (512, 4, 2), (512, 4, 2)],
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def branches(batch: int = 2, channels: int = 16, height: int = 3, width: int = 5):
    return torch.randn(2, batch, channels, height, width, dtype=torch.float64).unbind()


@pytest.mark.parametrize(
    ("name", "parameters"), [("MSINet", 2_328_035), ("MSINet-VR", 2_325_274), ("MSINet-S", 2_323_441)]
)
def test_published_networks_have_the_published_sizes(name, parameters):
    assert count_parameters(build_model("msinet", genotype=PUBLISHED[name], num_classes=7)) == parameters


def test_alignment_has_its_published_size():
    assert sum(p.numel() for p in SpatialAlignment().parameters()) == 65_664


@pytest.mark.parametrize(("name", "options", "dims"), EVERY_NETWORK)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_parameter_learns(name, options, dims, memory_format):
    model = build_model(name, num_classes=5, **options).to(memory_format=memory_format)
    outputs = model(small_images())
    assert [features.shape for features in outputs.features] == [(4, dim) for dim in dims]
    assert [logits.shape for logits in outputs.logits] == [(4, 5)] * len(dims)
    assert [tuple(map_BCHW.shape[1:]) for map_BCHW in outputs.maps] == MAPS[name]
    assert outputs.feature_map is outputs.maps[-1]
    assert outputs.feature_map.shape[1] == model.map_channels
    probes = [torch.randn_like(output) for output in (*outputs.features, *outputs.logits)]
    pairs = zip((*outputs.features, *outputs.logits), probes, strict=True)
    assert_every_parameter_learns(model, sum((output * probe).sum() for output, probe in pairs))


@pytest.mark.parametrize(("name", "options", "dims"), EVERY_NETWORK)
def test_embeddings_are_the_features_before_the_neck(name, options, dims):
    model = build_model(name, num_classes=5, **options).eval()
    images = small_images(2)
    with torch.no_grad():
        embedding = model.embed(images)
        torch.testing.assert_close(embedding, torch.cat(model(images).features, dim=1))
        after_neck = model.embed(images, after_neck=True)
    assert embedding.shape == after_neck.shape == (2, sum(dims))
    assert torch.equal(embedding, after_neck) == (name == "osnet")  # OSNet has no neck


@pytest.mark.parametrize(("name", "options", "dims"), EVERY_NETWORK)
def test_bf16_autocast_keeps_the_direction_of_embeddings(name, options, dims):
    model = build_model(name, num_classes=5, **options).to(memory_format=torch.channels_last).eval()
    images = small_images(2, 128, 64)
    with torch.no_grad():
        expected = model.embed(images)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = model.embed(images)
    assert torch.cosine_similarity(embedding.float(), expected).min() > 0.999


@pytest.mark.parametrize(("name", "options", "dims"), EVERY_NETWORK)
def test_maps_are_those_of_the_layers(name, options, dims):
    model = build_model(name, num_classes=5, **options).eval()
    layers = {
        "msinet": lambda: [model.backbone.cells[index] for index in (1, 3, 5)],
        "resnet50": lambda: [model.backbone.layer2, model.backbone.layer3, model.backbone.layer4],
        "osnet": lambda: [model.conv3, model.conv4, model.conv5],
    }[name]()
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        maps = model(small_images(2)).maps
        last_BCHW = model.feature_map(small_images(2))
    assert len(seen) == 6
    assert all(map(torch.equal, maps, seen[:3]))  # later layers have not changed these maps
    assert torch.equal(last_BCHW, maps[-1])


def test_bf16_autocast_trains():
    model = build_model("msinet", genotype="A" * 12, num_classes=5)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(small_images())
        loss = sum(logits.float().logsumexp(1).sum() for logits in outputs.logits)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_neck_biases_are_frozen_at_zero():
    model = build_model("msinet", genotype="MSINet", num_classes=5)
    for head in (model.global_head, model.part_head):
        assert not head.neck.bias.requires_grad
        assert not head.neck.bias.any()
        assert head.linear.bias is None


def test_part_feature_is_the_upper_then_the_lower_half():
    model = build_model("msinet", genotype="MSINet", num_classes=5).eval()
    images = small_images(2, 96, 48)
    with torch.no_grad():
        part_map, last_map = model.maps(images)
        reduced = model.part_conv(part_map)
        expected = torch.cat([reduced[:, :, :3].mean((2, 3)), reduced[:, :, 3:].mean((2, 3))], dim=1)
        global_feature, part_feature = model(images).features
    assert part_map.shape == (2, 384, 6, 3)
    torch.testing.assert_close(part_feature, expected)
    torch.testing.assert_close(global_feature, last_map.mean((2, 3)))


def test_none_and_exchange():
    a, b = branches()
    assert build_operation("none", 16)(a, b) == (a, b)
    assert build_operation("exchange", 16)(a, b) == (b, a)


def test_channel_gate_multiplies_each_branch_by_its_own_gate():
    a, b = branches(channels=32)
    operation = build_operation("channel_gate", 32).double()
    fc1, fc2 = operation.gate.fc1, operation.gate.fc2
    for branch, output in zip((a, b), operation(a, b), strict=True):
        for image, gated in zip(branch, output, strict=True):
            hidden = (fc1.weight[:, :, 0, 0] @ image.mean((1, 2)) + fc1.bias).clamp(min=0)
            gate = 1 / (1 + torch.exp(-(fc2.weight[:, :, 0, 0] @ hidden + fc2.bias)))
            torch.testing.assert_close(gated, image * gate[:, None, None])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_cross_attention_is_its_definition(memory_format):
    a, b = (branch.contiguous(memory_format=memory_format) for branch in branches())
    operation = CrossAttention().double()
    with torch.no_grad():
        operation.gamma.fill_(0.7)
    for own, other, output in zip((a, b), (b, a), operation(a, b), strict=True):
        for image in range(len(own)):
            rows = own[image].flatten(1)
            expected = torch.empty_like(rows)
            for i, row in enumerate(rows):
                energy = torch.stack([row @ column for column in other[image].flatten(1)])
                attention = torch.exp(energy.max() - energy - (energy.max() - energy).max())
                attention = attention / attention.sum()
                expected[i] = row + 0.7 * sum(weight * value for weight, value in zip(attention, rows, strict=True))
            torch.testing.assert_close(output[image].flatten(1), expected)


def test_cross_attention_begins_as_none():
    a, b = branches()
    outputs = CrossAttention().double()(a, b)
    assert torch.equal(outputs[0], a)
    assert torch.equal(outputs[1], b)


@pytest.mark.parametrize("softmax", [False, True])
def test_position_attention_is_its_definition(softmax):
    module = SpatialAlignment(16).double()
    with torch.no_grad():
        module.query.bias.normal_()
        module.key.bias.normal_()
    feature_map, _ = branches()
    attention = module(feature_map, softmax=softmax)
    for image, row in zip(feature_map, attention, strict=True):
        positions = image.flatten(1).T
        query = positions @ module.query.weight[:, :, 0, 0].T + module.query.bias
        key = positions @ module.key.weight[:, :, 0, 0].T + module.key.bias
        energy = query @ key.T
        expected = (energy.softmax(1) if softmax else energy).amax(1)
        torch.testing.assert_close(row, expected)


def test_mutual_activation_is_its_definition():
    feature_map, _ = branches(batch=3)
    activation = mutual_activation(feature_map)
    for g in range(3):
        for p in range(3):
            for m, position in enumerate(feature_map[p].flatten(1).T):
                products = [position @ other for other in feature_map[g].flatten(1).T]
                torch.testing.assert_close(activation[g, p, m], max(products))


def test_equal_seeds_build_equal_networks():
    first = build_model("msinet", genotype="MSINet", num_classes=5).state_dict()
    torch.manual_seed(0)
    second = build_model("msinet", genotype=Genotype.parse("MSINet"), num_classes=5).state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("resnet", {}, "must be one of msinet, resnet50, osnet, but got 'resnet'"),
        ("resnet50", {"genotype": "MSINet"}, "takes these options: none, but got genotype"),
        ("osnet", {"scale": 3}, "takes these options: scales, but got scale"),
        ("osnet", {"scales": (3, 4)}, "scales must be one or more of 3, 5, 7, 9"),
        ("osnet", {"scales": ()}, "scales must be one or more of 3, 5, 7, 9"),
        ("msinet", {}, "msinet needs a genotype"),
        ("msinet", {"genotype": "NGAE"}, "a genotype must be one of MSINet"),
    ],
)
def test_wrong_requests_are_refused(name, options, match):
    with pytest.raises(ValueError, match=match):
        build_model(name, num_classes=5, **options)


def test_a_network_without_classifiers_has_no_logits():
    model = build_model("msinet", genotype="MSINet", num_classes=0)
    assert model.eval().embed(small_images(2)).shape == (2, 768)
    with pytest.raises(ValueError, match="num_classes=0"):
        model(small_images(2))
