"""Training pictures that calibrate an INT8 file."""

import tempfile
from pathlib import Path

from torch import nn

from msinet.data.dataset import SOURCE
from msinet.export.card import ExportCard
from msinet.export.files import write, write_sidecar
from msinet.export.int8 import write_int8
from msinet.export.pictures import pixels_of
from pipeline.config.load import kind_and_path
from pipeline.config.parts import DiskData
from pipeline.errors import RequestError
from pipeline.plan.preflight import read_dataset, require_pictures

PICTURES = 256  # training pictures, spread evenly over the sorted paths and thus over identities and cameras


def quantised(model: nn.Module, card: ExportCard, onnx: Path | None, path: Path, data: str) -> Path:
    """Write an INT8 file, calibrated on training pictures, and return its path.

    Args:
        model: The network.
        card: The card of its exports.
        onnx: Its ONNX file, if that was written.
        path: The file to write.
        data: The dataset, `KIND=PATH`.

    Raises:
        RequestError: The dataset does not exist, or has no training pictures.
        DataError: A picture cannot be read.
    """
    kind, folder = kind_and_path(data)
    dataset = read_dataset(data, DiskData.model_validate({"kind": kind, "path": str(folder)}))
    require_pictures(SOURCE, data, dataset)
    records = [record for record in dataset.records if record.subset == "train"]
    chosen = records[:: -(-len(records) // PICTURES)]
    with tempfile.TemporaryDirectory() as scratch:
        if onnx is None:
            _, paths = write(model, card.model, Path(scratch), "model", ["onnx"], after_neck=card.after_neck)
            onnx = paths["onnx"]
        size = card.model.image_size
        try:
            write_int8(onnx, card, (pixels_of(dataset.root / r.path, size) for r in chosen), path)
        except OSError as error:
            raise RequestError(f"the training pictures must be readable, but {error} (--int8).") from error
    write_sidecar(path, card.model.image_size)
    return path
