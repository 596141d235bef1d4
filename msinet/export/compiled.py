"""A network in another runtime, without files that stay."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from msinet.export.files import write
from msinet.export.runtimes import open_onnx, open_openvino
from msinet.interop.card import Card

Runtime = Literal["torch", "onnxruntime", "openvino"]


def in_runtime(
    model: nn.Module, card: Card, runtime: Runtime, threads: int | None = None
) -> Callable[[Tensor], NDArray[np.float32]]:
    """Return a function from normalised pictures B×3×H×W to embeddings, which runs a network's export on the processor.

    Args:
        model: A network of `build_model`.
        card: What it is.
        runtime: `onnxruntime` or `openvino`.
        threads: Number of threads; all cores by default.

    Raises:
        ModuleNotFoundError: The runtime is not installed.
    """
    format_, opened = ("onnx", open_onnx) if runtime == "onnxruntime" else ("openvino", open_openvino)
    with tempfile.TemporaryDirectory() as folder:
        _, paths = write(model, card, Path(folder), "model", [format_])
        run, _ = opened(paths[format_], threads)
    return lambda images_BCHW: run(np.ascontiguousarray(images_BCHW.numpy()))
