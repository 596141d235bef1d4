"""A small trained network, and all of its exported files."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from msinet.export import FORMATS, ExportCard, write
from msinet.interop.card import Card
from msinet.models import build_model

LETTERS = "GGEGAGGNGAEA"
SIZE = (64, 32)
LIBRARIES = ("onnx", "onnxscript", "onnxruntime", "openvino")
WITHOUT_EXTRA = "the extra `export` is not installed: pip install 'msinet[export]'"


class Exported(NamedTuple):
    """A network and its files."""

    model: nn.Module
    card: ExportCard
    paths: dict[str, Path]
    folder: Path


def trained(name: str = "msinet", num_classes: int = 5, **options: object) -> nn.Module:
    """Return a network whose norms and attentions have other values than at the start, as after training."""
    torch.manual_seed(0)
    options = options or ({"genotype": LETTERS} if name == "msinet" else {})
    model = build_model(name, num_classes=num_classes, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.9, 1.1)
    for key, parameter in model.named_parameters():
        if key.endswith("gamma"):
            nn.init.constant_(parameter, 0.1)
    return model.eval()


def export(folder: Path) -> Exported:
    """Export the small network in all formats."""
    model = trained()
    card = Card("msinet", {"genotype": LETTERS}, 5, SIZE)
    return Exported(model, *write(model, card, folder, "small", FORMATS), folder)
