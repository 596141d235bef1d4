"""The runtimes that run an exported file: PyTorch, ONNX Runtime, OpenVINO.

A runner is a function from normalised pictures B×3×H×W to embeddings B×D, both float32 arrays.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msinet.export.card import ExportCard
from msinet.export.form import NormalisedForm
from msinet.export.libraries import library
from msinet.files import require_regular
from msinet.interop.card import NAME

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]
CARD_IN_PT2 = "msinet.json"


def torch_runner(form: Any, device: torch.device | str = "cpu") -> Runner:
    """Return the runner of a `NormalisedForm` on a device, or of a graph on the processor."""
    form = form.to(device) if isinstance(form, NormalisedForm) else form

    def run(images_BCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        images = torch.from_numpy(images_BCHW).to(device, memory_format=torch.channels_last)
        with torch.no_grad():
            return form(images).float().cpu().numpy()

    return run


def open_onnx(path: Path, threads: int | None = None) -> tuple[Runner, ExportCard]:
    """Open an ONNX file with ONNX Runtime on the processor.

    Args:
        path: The file.
        threads: Number of threads; all cores by default.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
        ValueError: The file is damaged, or was not written by `msinet export`.
    """
    runtime = library("onnxruntime")
    require_regular(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each kind of damage has a class of its own, directly below Exception
        raise ValueError(f"{path} must be an ONNX file, but ONNX Runtime says: {error}") from error
    text = session.get_modelmeta().custom_metadata_map.get(NAME)
    name = session.get_inputs()[0].name
    return lambda images_BCHW: session.run(None, {name: images_BCHW})[0], _card(text, path)


def open_openvino(path: Path, threads: int | None = None) -> tuple[Runner, ExportCard]:
    """Open an OpenVINO file with OpenVINO on the processor, in float32.

    Args:
        path: The XML file.
        threads: Number of threads; all cores by default.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
        ValueError: The file is damaged, or was not written by `msinet export`.
    """
    openvino = library("openvino")
    require_regular(path)
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    try:
        model = core.read_model(str(path))
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"{path} must be an OpenVINO file with its weights beside it, but: {error}") from error
    text = model.get_rt_info([NAME]).value if model.has_rt_info([NAME]) else None
    return lambda images_BCHW: np.array(compiled([images_BCHW])[0]), _card(text, path)


def open_pt2(path: Path) -> tuple[Runner, ExportCard]:
    """Open a file of `torch.export`. PyTorch unpickles parts of it, so the file can run code: open only your own.

    Raises:
        ValueError: The file was not written by `msinet export`.
    """
    require_regular(path)
    extra = {CARD_IN_PT2: ""}
    program = torch.export.load(path, extra_files=extra)
    return torch_runner(program.module()), _card(extra[CARD_IN_PT2], path)


def _card(text: str | None, path: str | os.PathLike[str]) -> ExportCard:
    if not text:
        raise ValueError(f"{path} must hold the card that `msinet export` writes, but holds none.")
    return ExportCard.from_text(json.loads(text) if text.startswith('"') else text, str(path))
