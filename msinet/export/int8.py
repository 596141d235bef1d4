"""INT8 files for ONNX Runtime: convolutions compute with 8 bits. Letters: B×3×H×W pictures."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msinet.export.card import INPUT, ExportCard
from msinet.export.libraries import library
from msinet.export.pictures import network_input
from msinet.files import written_whole


def write_int8(onnx: Path, card: ExportCard, pixels_NHW3: Iterable[NDArray[np.uint8]], path: Path) -> None:
    """Write an ONNX file whose convolutions are quantised statically, each output channel with a scale of its own.

    The range of each map is that of the calibration pictures. Everything else stays float32: attentions and gates hold
    few of the operations and lose much.

    Args:
        onnx: The float32 file.
        card: Its card.
        pixels_NHW3: Training pictures of the network's size, uint8.
        path: The file to write.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
    """
    quantization = library("onnxruntime.quantization")
    preprocess = library("onnxruntime.quantization.shape_inference").quant_pre_process
    with tempfile.TemporaryDirectory() as scratch:
        prepared, made = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        preprocess(str(onnx), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(made),
            _Reader(pixels_NHW3),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Processors without VNNI add pairs of products in 16 bits, which weights of 8 bits overflow.
            reduce_range=True,
        )
        format_ = library("onnx")
        model = format_.load(made)
        format_.helper.set_model_props(model, card.to_metadata())
        with written_whole(path) as file:
            file.write(model.SerializeToString())


class _Reader:
    """The pictures as ONNX Runtime's calibration reads them, one after another."""

    def __init__(self, pixels_NHW3: Iterable[NDArray[np.uint8]]) -> None:
        self.inputs = ({INPUT: network_input(pixels_HW3[None])} for pixels_HW3 in pixels_NHW3)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next input of the network, or None after the last one."""
        return next(self.inputs, None)
