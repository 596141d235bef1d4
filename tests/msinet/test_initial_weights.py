"""A seed gives the same initial weights as ever, because equal keys promise equal results.

The figures are those of version 0.1.0 before there were spaces. A layer that is built but not used changes them too:
building it takes random numbers.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from msinet.models import Supernet, build_model


@pytest.mark.parametrize(
    ("build", "first", "last", "total", "following"),
    [
        (
            lambda: build_model("msinet", num_classes=5, genotype="MSINet"),
            -0.0346635,
            -0.019216,
            175115.2524,
            0.9300015,
        ),
        (Supernet, -9.36e-05, -0.0001671, 169077.7818, 0.7522854),
        (lambda: Supernet(5), -0.0002678, -0.0010374, 169619.4116, 0.1664563),
        (lambda: build_model("resnet50", num_classes=5), -0.0173718, 0.0009001, 743887.1476, 0.4117464),
        (lambda: build_model("osnet", num_classes=5), -0.0050856, -0.008044, 160582.9784, 0.0594879),
    ],
    ids=["msinet", "supernet", "supernet with a classifier", "resnet50", "osnet"],
)
def test_a_seed_gives_the_weights_that_it_gave(
    build: Callable[[], nn.Module], first: float, last: float, total: float, following: float
) -> None:
    torch.manual_seed(3)
    parameters = [parameter.detach().double() for parameter in build().parameters()]
    assert parameters[0].flatten()[0].item() == pytest.approx(first, abs=1e-7)
    assert parameters[0].flatten()[-1].item() == pytest.approx(last, abs=1e-7)
    assert sum(parameter.abs().sum().item() for parameter in parameters) == pytest.approx(total, rel=1e-7)
    assert torch.rand(1).item() == pytest.approx(following, abs=1e-7), "as many random numbers were drawn"
