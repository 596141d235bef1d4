"""Write a trained network as files for other runtimes."""

import contextlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from msinet.export.card import INPUT, OUTPUT, ExportCard, weights_hash
from msinet.export.form import ExportForm
from msinet.export.libraries import library
from msinet.export.runtimes import CARD_IN_PT2
from msinet.files import json_text, written_whole
from msinet.interop.card import NAME, Card
from msinet.interop.start import is_embedded

OPSET = 18
FORMATS = ("safetensors", "onnx", "openvino", "pt2")


def write(
    model: nn.Module,
    card: Card,
    folder: Path,
    name: str,
    formats: Collection[str] = FORMATS,
    *,
    after_neck: bool = False,
) -> tuple[ExportCard, dict[str, Path]]:
    """Write a trained network in some formats.

    The network is in the form of `deployed`: batch norms are folded, classifiers are removed. Its input is a batch of
    any size of normalised pictures, B×3×H×W, and its output their L2-normalised embeddings. Only the safetensors file
    holds the weights as they were trained.

    Args:
        model: A network of `build_model`; it is not changed.
        card: What the network is. `image_size` is the size of the pictures in every file.
        folder: Folder of the files, created if it is missing.
        name: First part of the files' names.
        formats: Some of `FORMATS`. The file of OpenVINO is `<name>_openvino_model/<name>.xml`.
        after_neck: Whether embeddings are taken after the necks.

    Returns:
        The card that the files hold, and the file of each format.

    Raises:
        ModuleNotFoundError: A library of the extra `export` is not installed.
        ValueError: A format is unknown.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ValueError(f"a format must be one of {', '.join(FORMATS)}, but got {', '.join(unknown)}.")
    for needed in ("onnx", "onnxscript") if {"onnx", "openvino"} & set(formats) else ():
        library(needed)
    if "openvino" in formats:
        library("openvino")
    export = export_card(model, card, after_neck)
    paths = {format_: folder / file_name(name, format_) for format_ in FORMATS if format_ in formats}
    if "safetensors" in paths:
        _write_weights(model, export, paths["safetensors"])
    if paths.keys() - {"safetensors"}:
        write_graphs(exported_program(ExportForm(model, after_neck), card), export, paths)
    for path in (paths[format_] for format_ in ("onnx", "openvino") if format_ in paths):
        write_sidecar(path, card.image_size)
    return export, paths


def write_sidecar(path: Path, image_size: tuple[int, int]) -> None:
    """Write the file in which BoxMOT looks for the picture size of an ONNX file or a folder of OpenVINO.

    Without it BoxMOT takes 256×128, and 256×256 if the name says `veri` or `vehicleid`.
    """
    place = path.with_name("manifest.json") if path.suffix == ".xml" else path.with_name(f"{path.name}.metadata.json")
    document = {"schema_version": 1, "model_name": "msinet", "preprocess": "resize"}
    with written_whole(place) as file:
        file.write(json_text({**document, "model_kwargs": {"img_size": list(image_size)}}, indent=1).encode())


def file_name(name: str, format_: str) -> str:
    """Return the name of an export's file in one format, as BoxMOT needs it, too."""
    return f"{name}_openvino_model/{name}.xml" if format_ == "openvino" else f"{name}.{format_}"


def export_card(model: nn.Module, card: Card, after_neck: bool = False) -> ExportCard:
    """Return the card of a network's exports."""
    with torch.no_grad():
        dim = model.cpu().eval().embed(torch.zeros(1, 3, *card.image_size)).shape[1]  # type: ignore[operator]
    tensors = {key: value for key, value in model.state_dict().items() if is_embedded(key, after_neck)}
    return ExportCard(Card(card.network, card.options, 0, card.image_size), dim, after_neck, weights_hash(tensors))


def exported_program(form: nn.Module, card: Card) -> Any:
    """Return the graph that `torch.export` makes of a module such as `ExportForm`, for batches of any size."""
    images = torch.randn(2, 3, *card.image_size)
    with _without_notes():
        return torch.export.export(form, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _write_weights(model: nn.Module, card: ExportCard, path: Path) -> None:
    tensors = {key: value.cpu().contiguous() for key, value in model.state_dict().items() if is_embedded(key, True)}
    with written_whole(path) as file:
        file.write(save(tensors, card.to_metadata()))


def write_graphs(program: Any, card: ExportCard, paths: dict[str, Path]) -> None:
    """Write the formats that hold a graph. OpenVINO's is made from the ONNX file.

    Args:
        program: What `exported_program` returned.
        card: The card that the files hold.
        paths: The files by format.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if "pt2" in paths:
            made = Path(scratch) / "model.pt2"
            torch.export.save(program, made, extra_files={CARD_IN_PT2: card.to_metadata()[NAME]})
            _place(made, paths["pt2"])
        if "onnx" in paths or "openvino" in paths:
            made = Path(scratch) / "model.onnx"
            write_onnx(program, card, made)
            if "openvino" in paths:
                _write_openvino(made, card, paths["openvino"])
            if "onnx" in paths:
                _place(made, paths["onnx"])


def write_onnx(program: Any, card: ExportCard, path: Path) -> None:
    """Write a graph of `torch.export` as one ONNX file, with the card in its metadata."""
    with _without_notes():
        onnx = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: "batch"}},  # gives the axis its name
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert onnx is not None
    onnx.model.metadata_props.update(card.to_metadata())
    onnx.save(path)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Hide PyTorch's notes to its own developers, and those about torchvision, which no network here uses."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def _write_openvino(onnx: Path, card: ExportCard, path: Path) -> None:
    openvino = library("openvino")
    model = openvino.convert_model(str(onnx))
    model.set_rt_info(card.to_metadata()[NAME], [NAME])
    made = onnx.with_name("openvino.xml")
    openvino.save_model(model, str(made), compress_to_fp16=False)
    _place(made.with_suffix(".bin"), path.with_suffix(".bin"))
    _place(made, path)


def _place(made: Path, path: Path) -> None:
    """Copy a finished file to its place, whole or not at all."""
    with written_whole(path) as file, made.open("rb") as source:
        shutil.copyfileobj(source, file)
