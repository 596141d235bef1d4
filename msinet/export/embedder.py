"""A trained network that takes pictures. Letters: N pictures, D embedding, H×W pixels."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msinet.export.card import ExportCard
from msinet.export.files import export_card
from msinet.export.form import NormalisedForm
from msinet.export.pictures import Picture, network_input, pixels_of
from msinet.export.runtimes import Runner, open_onnx, open_openvino, open_pt2, torch_runner
from msinet.interop.card import NAME, SUPERNET, read_card, read_metadata
from msinet.interop.start import is_embedded, load_start
from msinet.interop.state_dicts import read_state_dict
from msinet.models import build_model

BATCH = 16  # pictures that are embedded at a time; more do not fit into the caches of a processor


class Embedder:
    """A trained network with its preprocessing, in any runtime.

    Attributes:
        card: What the network is.
        runner: Function from normalised pictures to L2-normalised embeddings.
    """

    def __init__(self, card: ExportCard, runner: Runner) -> None:
        self.card, self.runner = card, runner

    @property
    def image_size(self) -> tuple[int, int]:
        """Return (height, width) of the network's input, in pixels."""
        return self.card.model.image_size

    def embed(self, pictures: Sequence[Picture] | NDArray[np.uint8] | Iterable[Picture]) -> NDArray[np.float32]:
        """Return the embedding of each picture, N×D, of length 1: their products are cosine similarities.

        Args:
            pictures: Paths, pictures of Pillow, or H×W×3 arrays of RGB levels 0 to 255 (uint8), of any sizes. They are
                resized and normalised here, exactly as in training and evaluation.

        Raises:
            DataError: A file cannot be read as a picture; the message names it.
            ValueError: A picture has another form, or there is none.
        """
        if isinstance(pictures, str | os.PathLike):
            raise ValueError(f"`pictures` must be a list, but got one path: use [{str(pictures)!r}].")
        blocks = [
            self.embed_pixels(np.stack([pixels_of(picture, self.image_size) for picture in block]))
            for block in batched(pictures, BATCH)
        ]
        if not blocks:
            raise ValueError("`pictures` must hold at least one picture, but is empty.")
        return np.concatenate(blocks)

    def embed_pixels(self, pixels_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of pictures that have the network's size already, N×D.

        Raises:
            ValueError: An embedding is infinite or not a number.
        """
        embedding_ND = self.runner(network_input(pixels_NHW3))
        if not np.isfinite(embedding_ND).all():
            raise ValueError("embeddings must be finite, but this network gives infinity or nan.")
        return embedding_ND


def load(
    path: str | os.PathLike[str], *, device: torch.device | str = "cpu", threads: int | None = None, trust: bool = False
) -> Embedder:
    """Open a trained network: `model.embed(pictures)` then prepares the pictures, too.

    The file's ending decides about the runtime: `.safetensors` runs in PyTorch, `.onnx` in ONNX Runtime, `.xml` or a
    folder `…_openvino_model` in OpenVINO, `.pt2` in PyTorch.

    Args:
        path: A file that `msinet export` wrote, or `weights.safetensors` of a retraining.
        device: Device for `.safetensors`.
        threads: Threads of ONNX Runtime and OpenVINO; all cores by default.
        trust: Whether a `.pt2` file may be opened. PyTorch unpickles parts of such files, so they can run code.

    Raises:
        ModuleNotFoundError: The runtime is not installed.
        ValueError: The file is of another kind, is damaged, or holds no card.
        OSError: The file cannot be read.
    """
    path = Path(path)
    if path.is_dir() and path.name.endswith("_openvino_model"):
        path /= f"{path.name.removesuffix('_openvino_model')}.xml"
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    openers: dict[str, Callable[[], tuple[Runner, ExportCard]]] = {
        ".safetensors": lambda: open_weights(path, device),
        ".onnx": lambda: open_onnx(path, threads),
        ".xml": lambda: open_openvino(path, threads),
        ".pt2": lambda: open_pt2(path),
    }
    if path.suffix not in openers:
        raise ValueError(f"a model must be a file that ends in {', '.join(openers)}, but got {path}.")
    if path.suffix == ".pt2" and not trust:
        raise ValueError(
            f"{path} can run code when PyTorch opens it, so it is opened only with `trust`: do this if you have made "
            "the file yourself, and use .safetensors or .onnx otherwise."
        )
    runner, card = openers[path.suffix]()
    return Embedder(card, runner)


def open_weights(path: Path, device: torch.device | str = "cpu") -> tuple[Runner, ExportCard]:
    """Open a safetensors file with a card, in PyTorch.

    Raises:
        ValueError: It has no card, holds the weights of a search, or lacks weights.
    """
    card = read_card(path)
    if card is None:
        raise ValueError(f"{path} must hold a card that says which network it is, but holds none: use `msinet export`.")
    if card.network == SUPERNET:
        raise ValueError(f"{path} holds the weights of a search: give those of a retraining.")
    model = build_model(card.network, num_classes=0, **card.options)
    report = load_start(model, read_state_dict(path))
    text = read_metadata(path)[NAME]
    after_neck = '"output"' in text and ExportCard.from_text(text, str(path)).after_neck
    if missing := [name for name in report.left if is_embedded(name, after_neck)]:
        raise ValueError(f"{path} must hold all weights that an embedding needs, but lacks {', '.join(missing[:5])}.")
    return torch_runner(NormalisedForm(model, after_neck), device), export_card(model, card, after_neck)


def batched(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Yield lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while block := list(itertools.islice(iterator, size)):
        yield block
