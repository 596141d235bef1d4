"""A network in another runtime, without files that stay."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from msinet.export.files import export_card, exported_program, file_name, write_graphs
from msinet.export.form import ExportForm
from msinet.export.libraries import library
from msinet.export.runtimes import open_onnx, open_openvino
from msinet.interop.card import Card

Runtime = Literal["torch", "onnxruntime", "openvino"]


def in_runtime(
    model: nn.Module, card: Card, runtime: Runtime, threads: int | None = None, *, form: nn.Module | None = None
) -> Callable[[Tensor], Tensor]:
    """Return a function from normalised pictures B×3×H×W to embeddings, which runs a network's export on the processor.

    Args:
        model: A network of `build_model`.
        card: What it is.
        runtime: `onnxruntime` or `openvino`.
        threads: Number of threads; all cores by default.
        form: Module that is exported instead of the network's `ExportForm`, such as one with other outputs.

    Raises:
        ModuleNotFoundError: The runtime is not installed.
    """
    require_runtime(runtime)
    format_, opened = ("onnx", open_onnx) if runtime == "onnxruntime" else ("openvino", open_openvino)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file_name("model", format_)
        write_graphs(exported_program(form or ExportForm(model), card), export_card(model, card), {format_: path})
        run, _ = opened(path, threads)
    return lambda images_BCHW: torch.from_numpy(run(np.ascontiguousarray(images_BCHW.numpy())))


def require_runtime(runtime: Runtime) -> None:
    """Import what a network in a runtime needs.

    Raises:
        ModuleNotFoundError: A library of the extra `export` is not installed.
    """
    for needed in () if runtime == "torch" else (runtime, "onnx", "onnxscript"):
        library(needed)
