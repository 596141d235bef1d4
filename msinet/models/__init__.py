"""Networks: MSINet, its supernet, and the baselines."""

from typing import Any

from torch import nn

from msinet.models.alignment import SpatialAlignment, mutual_activation
from msinet.models.layers import Outputs
from msinet.models.msinet import MSINet
from msinet.models.osnet import OSNet
from msinet.models.resnet import ResNet50
from msinet.models.supernet import Supernet

__all__ = [
    "MSINet",
    "OSNet",
    "Outputs",
    "ResNet50",
    "SpatialAlignment",
    "Supernet",
    "build_model",
    "count_parameters",
    "mutual_activation",
]

# Each network's class, and the options it takes.
_NETWORKS: dict[str, tuple[type[nn.Module], frozenset[str]]] = {
    "msinet": (MSINet, frozenset({"genotype", "space"})),
    "resnet50": (ResNet50, frozenset()),
    "osnet": (OSNet, frozenset({"scales"})),
}


def build_model(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Build a network for training and retrieval, with fresh weights drawn from torch's global generator.

    Every network has `model(images_BCHW) -> Outputs`, `model.embed(images_BCHW, after_neck=False) -> embedding_BD`,
    which is not normalised, and `model.feature_map(images_BCHW) -> feature_map_BCHW`, the last map, which has
    `model.map_channels` channels.

    Args:
        name: "msinet" (Gu et al., CVPR 2023), "resnet50" (strong baseline with BNNeck, last stride 1) or "osnet"
            (OSNet x1.0).
        num_classes: Number of identities that the classifiers distinguish.
        **options: "msinet" needs `genotype`: a `Genotype`, a published name or twelve letters; `space` is the space of
            letters, by default the paper's. "osnet" takes `scales`, the branches of each block, by default
            (3, 5, 7, 9).

    Raises:
        ValueError: The name or an option is unknown, or `genotype` is missing.
    """
    if name not in _NETWORKS:
        raise ValueError(f"the model must be one of {', '.join(_NETWORKS)}, but got {name!r} (model).")
    network, allowed = _NETWORKS[name]
    unknown = sorted(options.keys() - allowed)
    if unknown:
        takes = ", ".join(sorted(allowed)) or "none"
        raise ValueError(f"{name} takes these options: {takes}, but got {', '.join(unknown)}.")
    if name == "msinet" and "genotype" not in options:
        raise ValueError("msinet needs a genotype, but got none (genotype).")
    return network(num_classes=num_classes, **options)


def count_parameters(model: nn.Module) -> int:
    """Count the parameters, frozen ones too, without the classifiers, whose size depends on the training set."""
    return sum(p.numel() for name, p in model.named_parameters() if "classifier" not in name.split("."))
