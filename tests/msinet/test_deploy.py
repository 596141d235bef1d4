"""The deployment form gives the same embeddings, without batch norms and classifiers."""

import pytest
import torch
from torch import nn

from msinet.models import build_model
from msinet.models.deploy import deployed

NETWORKS = [("msinet", {"genotype": "GGEGAGGNGAEA"}), ("resnet50", {}), ("osnet", {}), ("osnet", {"scales": [7, 9]})]


def trained(name: str, options: dict) -> nn.Module:
    """Return a network whose norms have other values than at the start, as after training."""
    torch.manual_seed(0)
    model = build_model(name, num_classes=5, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.9, 1.1)
    return model.eval()


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("after_neck", [False, True])
def test_embeddings_stay(name: str, options: dict, after_neck: bool) -> None:
    model = trained(name, options)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images_BCHW = torch.randn(3, 3, 64, 32)
    light = deployed(model)
    with torch.no_grad():
        expected, found = (m.embed(images_BCHW, after_neck=after_neck) for m in (model, light))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in light.modules())
    assert not any("classifier" in key for key in light.state_dict())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()), "the model stays"


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_bf16_turns_embeddings_by_its_rounding_alone(name: str, options: dict) -> None:
    model, images_BCHW = trained(name, options), torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        expected = deployed(model).embed(images_BCHW)
        found = deployed(model, torch.bfloat16).embed(images_BCHW.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.cosine_similarity(found.float(), expected).min() > 0.999
