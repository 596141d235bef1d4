"""The card of a file of weights: which network it holds and how its pictures are prepared, as safetensors metadata."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from msinet.data.transforms import MEAN, STD
from msinet.files import json_text, require_regular

NAME = "msinet"  # of the metadata
SUPERNET = "supernet"  # the network of a search's weights, which no embedding can be taken from
# How pictures become a network's input: see `msinet.data.packed.decode_rgb` and `msinet.data.transforms.normalise`.
PREPROCESSING = {"channels": "RGB", "resize": "bilinear", "scale": "1/255", "mean": list(MEAN), "std": list(STD)}


@dataclass(frozen=True)
class Card:
    """What a file of weights says about itself.

    Attributes:
        network: A name for `msinet.build_model`, or `supernet` for a search's weights.
        options: The options of `build_model` for that network, such as `genotype`. A genotype of another space than the
            paper's comes with the whole document of that space.
        num_classes: Identities that the classifiers tell apart.
        image_size: (height, width) in pixels of the pictures that it was trained on.
    """

    network: str
    options: Mapping[str, Any]
    num_classes: int
    image_size: tuple[int, int]

    def __str__(self) -> str:
        return described(self.network, self.options)

    def to_metadata(self) -> dict[str, str]:
        """Return the card as metadata of a safetensors file: JSON under one name, so that equal files are equal bytes.

        The library writes several names in an order that changes from run to run.
        """
        return {NAME: json_text({**asdict(self), "preprocessing": PREPROCESSING}, sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Card":
        """Read what `to_metadata` gave.

        Raises:
            ValueError: The metadata have another form.
        """
        values = json.loads(metadata[NAME])
        height, width = map(int, values["image_size"])
        if not isinstance(values["network"], str) or not isinstance(values["options"], dict):
            raise ValueError(f"a network must be a name with options, but got {values['network']!r}.")
        return cls(values["network"], values["options"], int(values["num_classes"]), (height, width))

    def require(self, network: str, options: Mapping[str, Any]) -> None:
        """Make sure that a network is the one that the file holds.

        Raises:
            ValueError: The file holds another network, or the same one with other options.
        """
        if (network, dict(options)) != (self.network, dict(self.options)):
            asked, own = described(network, options), str(self)
            how = ", with another content of the space," if asked == own else ""
            raise ValueError(f"the weights are those of {own}, but {asked}{how} was asked for.")


def described(network: str, options: Mapping[str, Any]) -> str:
    """Return a network and its options, for people: `msinet (genotype GGEGAGGNGAEA)`.

    A genotype of another space than the paper's begins with the space's name, so the space itself is not shown.
    """
    parts = [f"{name} {value}" for name, value in options.items() if name != "space"]
    return f"{network} ({', '.join(parts)})" if parts else network


def read_card(path: str | os.PathLike[str]) -> Card | None:
    """Return the card of a file of weights, None if it has none, as files of other projects and older versions do.

    Raises:
        ValueError: The file has a card that cannot be read, or is not a regular file.
        OSError: The file cannot be read.
    """
    metadata = read_metadata(Path(path))
    if NAME not in metadata:
        return None
    try:
        return Card.from_metadata(metadata)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"the card in the metadata of {path} is damaged: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; nothing for a file of another kind.

    Raises:
        ValueError: The file cannot be read as safetensors, or is not a regular file.
    """
    if path.suffix != ".safetensors":
        return {}
    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file, but it cannot be read: {error}.") from error


def require_card(path: str | os.PathLike[str], network: str, options: Mapping[str, Any]) -> None:
    """Make sure that a file of weights, if it has a card, holds the given network.

    Raises:
        ValueError: It holds another network, or its card cannot be read.
        OSError: The file cannot be read.
    """
    card = read_card(path)
    if card is not None:
        card.require(network, options)
