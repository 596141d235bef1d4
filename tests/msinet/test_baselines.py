"""ResNet-50 and OSNet, compared with golden figures, with the names of torchvision and torchreid."""

import pytest
import torch
from support.networks import GOLDEN, assert_summary, golden_images, golden_state

from msinet.interop import load_start
from msinet.models import build_model, count_parameters


@pytest.mark.parametrize("name", ["resnet50", "osnet"])
def test_embedding_is_golden(name):
    model = build_model(name, num_classes=5)
    report = load_start(model, golden_state(name))
    assert all("classifier" in key or "neck" in key for key in report.left)
    with torch.no_grad():
        embedding = model.double().eval().embed(golden_images(name))
    assert_summary(embedding, GOLDEN[name]["embedding"])


def test_sizes():
    assert count_parameters(build_model("resnet50", num_classes=5)) == 23_508_032 + 4_096
    assert count_parameters(build_model("osnet", num_classes=5)) == 2_169_508


def test_osnet_without_branches_is_osnet_with_those_silenced():
    full = build_model("osnet", num_classes=5).double().eval()
    part = build_model("osnet", num_classes=5, scales=(9, 7)).double().eval()
    part.load_state_dict(full.state_dict(), strict=False)
    with torch.no_grad():
        for name, module in full.named_modules():
            if name.endswith(("conv2a.bn", "conv2b.1.bn")):
                module.weight.zero_()
                module.bias.zero_()
        torch.testing.assert_close(part.embed(golden_images("osnet")), full.embed(golden_images("osnet")))
    assert count_parameters(part) < count_parameters(full)
