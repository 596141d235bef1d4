"""Helpers of the tests of the networks: golden states and summaries, and small images."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from msinet.genotype import Genotype
from msinet.models import Supernet
from support.golden_draw import draw, fill_state, load

GOLDEN = load("networks")
NORM = "norm "


def golden_state(name: str) -> dict[str, Tensor]:
    """Return the state dict of a network of networks.json, with its original names."""
    return fill_state(dict(_shapes(GOLDEN[name]["keys"])))


def golden_images(name: str) -> Tensor:
    return torch.from_numpy(draw("images", GOLDEN[name]["input"])).double()


def assert_summary(tensor: Tensor, summary: dict) -> None:
    """Assert that a tensor has the summary's shape, mean, L2 norm and first eight values, to 1e-6 relative."""
    values = [tensor.mean(), tensor.norm(), *tensor.flatten()[:8]]
    expected = [summary["mean"], summary["l2"], *summary["first8"]]
    assert list(tensor.shape) == summary["shape"]
    torch.testing.assert_close(torch.stack(values), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def one_hot_supernet(genotype: Genotype) -> Supernet:
    """Return a supernet with α so large that its mixture is exactly one-hot, and with γ other than 0."""
    supernet = Supernet(space=genotype.space)
    columns = [genotype.space.columns.index(operation) for operation in genotype.operations]
    with torch.no_grad():
        supernet.alphas.zero_()[torch.arange(len(columns)), columns] = 1e4
        for name, parameter in supernet.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_()
    return supernet


def small_images(batch: int = 4, height: int = 64, width: int = 32) -> Tensor:
    return torch.from_numpy(draw("small-images", (batch, 3, height, width)))


def assert_every_parameter_learns(model: nn.Module, loss: Tensor) -> None:
    """Assert that a loss gives a finite gradient, not all zero, to trainable parameters, and none to frozen ones."""
    loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def _shapes(keys: dict) -> Iterator[tuple[str, list[int]]]:
    for key, shape in keys.items():
        if not key.startswith(NORM):
            yield key, shape
            continue
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{key.removeprefix(NORM)}.{part}", [shape]
        yield f"{key.removeprefix(NORM)}.num_batches_tracked", []
