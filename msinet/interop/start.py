"""Weights to start a training from, under this package's names or under published ones."""

from dataclasses import dataclass

from torch import Tensor, nn

from msinet.interop.released import from_released_names, has_released_names, visible_letters
from msinet.interop.state_dicts import StateDict, common_prefix, compare, plain_state_dict
from msinet.models.msinet import MSINet
from msinet.models.resnet import ResNet50

# Names of a ResNet-50 with BNNeck in other projects, and ours.
STRONG_BASELINE_NAMES = {
    "base.": "backbone.",
    "bottleneck.": "neck.",
    "heads.bottleneck.0.": "neck.",
    "heads.classifier.": "classifier.",
    "heads.weight": "classifier.weight",
}
STRONG_BASELINES = ("bottleneck.weight", "heads.bottleneck.0.weight")  # tensors that only these projects have


@dataclass(frozen=True)
class StartReport:
    """The tensors of a network that were loaded from a state dict, and those that were not, by the network's names.

    Attributes:
        loaded: Names of the tensors that were loaded.
        left: Names of the tensors that were left unchanged, because the state dict has no such tensor, or one of
            another shape. They belong to heads and classifiers.
        ignored: Names of the state dict's tensors that do not fit the network. They belong to classifiers.
    """

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    ignored: tuple[str, ...]


def load_start(model: nn.Module, state_dict: StateDict) -> StartReport:
    """Initialise a network of `build_model` from `state_dict`, in place.

    The names can be this package's own, the released MSINet's, torchvision's for ResNet-50, or torchreid's for OSNet.
    The state dict must contain everything up to the last map. Heads that it lacks stay unchanged, and so do
    classifiers of another size.

    Args:
        model: An MSINet, a ResNet50 or an OSNet.
        state_dict: Tensors by name, for example from `read_state_dict`.

    Raises:
        ValueError: The state dict belongs to another network or another genotype; nothing was loaded.
    """
    expected = model.state_dict()
    given = _own_names(model, plain_state_dict(state_dict))
    usable = {key: value for key, value in given.items() if not _is_classifier(key) or _fits(value, expected.get(key))}
    required = {key: value for key, value in expected.items() if key in usable or not _is_optional(model, key)}
    misfit = compare(usable, required)
    if misfit:
        raise ValueError(f"the start weights must fit {_described(model, given)}: {misfit} (start).")
    model.load_state_dict(usable, strict=False)  # compared above
    return StartReport(
        loaded=tuple(key for key in expected if key in usable),
        left=tuple(key for key in expected if key not in usable),
        ignored=tuple(key for key in given if key not in usable),
    )


def is_embedded(name: str, after_neck: bool) -> bool:
    """Return whether the embedding depends on the weight of this name. The necks matter only with `after_neck`."""
    parts = name.split(".")
    if "classifier" in parts or name.endswith("num_batches_tracked"):
        return False
    return after_neck or not {"neck", "linear"} & set(parts)


def _own_names(model: nn.Module, state_dict: StateDict) -> dict[str, Tensor]:
    if isinstance(model, MSINet) and has_released_names(state_dict):
        return from_released_names(state_dict)
    if isinstance(model, ResNet50) and "conv1.weight" in state_dict:  # torchvision's; its fc is ImageNet's classifier
        return {f"backbone.{key}": value for key, value in state_dict.items() if not key.startswith("fc.")}
    if isinstance(model, ResNet50) and not state_dict.keys().isdisjoint(STRONG_BASELINES):
        named = {_strong_baseline_name(key): value for key, value in state_dict.items()}
        return {key: value for key, value in named.items() if not key.startswith("pixel_")}
    return dict(state_dict)


def _strong_baseline_name(key: str) -> str:
    """Return this package's name of a tensor of the strong baseline (Luo et al., CVPRW 2019) or of fast-reid."""
    for theirs, ours in STRONG_BASELINE_NAMES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _is_classifier(key: str) -> bool:
    return "classifier" in key.split(".")


def _is_optional(model: nn.Module, key: str) -> bool:
    """Return whether `key` belongs to a head, which is optional: it is outside the backbone, or is a classifier."""
    return _is_classifier(key) or (hasattr(model, "backbone") and not key.startswith("backbone."))


def _fits(value: Tensor, expected: Tensor | None) -> bool:
    return expected is not None and value.shape == expected.shape


def _described(model: nn.Module, given: StateDict) -> str:
    if isinstance(model, MSINet) and any(key.startswith("backbone.cells.") for key in given):
        return f"genotype {model.genotype}, but their own slots are {visible_letters(given)} (? has no weights)"
    prefix = common_prefix(given)
    hint = f"; all their names begin with `{prefix}`" if prefix else ""
    return f"{type(model).__name__}, but they do not{hint}"
