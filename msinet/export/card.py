"""The card of an export: which network it is, how its pictures are prepared, and what it returns."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from msinet.files import json_text
from msinet.interop.card import NAME, PREPROCESSING, Card

INPUT, OUTPUT = "images", "embedding"


@dataclass(frozen=True)
class ExportCard:
    """What every exported file says about itself, in its metadata.

    Attributes:
        model: The network and the size of its pictures.
        dim: Number of numbers in an embedding, D.
        after_neck: Whether embeddings are taken after the necks.
        weights: SHA-256 of the tensors that decide the embedding. Embeddings can be compared only if it is equal.
    """

    model: Card
    dim: int
    after_neck: bool
    weights: str

    def document(self) -> dict[str, Any]:
        """Return the card as JSON values, which include those of `msinet.interop.Card`."""
        height, width = self.model.image_size
        return {
            "network": self.model.network,
            "options": dict(self.model.options),
            "num_classes": 0,
            "image_size": [height, width],
            "preprocessing": PREPROCESSING,
            "input": {"name": INPUT, "shape": ["batch", 3, height, width], "type": "float32"},
            "output": {
                "name": OUTPUT,
                "shape": ["batch", self.dim],
                "type": "float32",
                "normalisation": "L2",
                "after_neck": self.after_neck,
            },
            "weights": self.weights,
        }

    def to_metadata(self) -> dict[str, str]:
        """Return the card as metadata of a file: JSON under the name `msinet`."""
        return {NAME: json_text(self.document(), sort_keys=True)}

    @classmethod
    def from_text(cls, text: str, place: str) -> "ExportCard":
        """Read the JSON text that `to_metadata` wrote.

        Args:
            text: The JSON text.
            place: Name of the file, for the error.

        Raises:
            ValueError: The text is no card.
        """
        try:
            values = json.loads(text)
            height, width = map(int, values["image_size"])
            model = Card(str(values["network"]), dict(values["options"]), 0, (height, width))
            output = values["output"]
            if values["preprocessing"] != PREPROCESSING:
                raise ValueError("the pictures must be prepared in another way than this version of msinet does it")
            return cls(model, int(output["shape"][1]), bool(output["after_neck"]), str(values["weights"]))
        except (ValueError, TypeError, KeyError, LookupError) as error:
            raise ValueError(f"the card of {place} must be one that `msinet export` wrote, but: {error}.") from error


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
