"""Exported files hold the same network in every runtime, and say how it is used."""

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.exports import LETTERS, LIBRARIES, SIZE, WITHOUT_EXTRA, Exported, export, trained

import msinet
from msinet.data.dataset import DataError
from msinet.data.packed import decode_rgb
from msinet.data.transforms import normalise
from msinet.engine.measure import measure
from msinet.export import write
from msinet.export.compiled import in_runtime
from msinet.export.form import ExportForm
from msinet.export.libraries import library
from msinet.interop.card import Card, read_card

MODELS = ("safetensors", "onnx", "openvino", "pt2")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    for name in LIBRARIES:
        pytest.importorskip(name, reason=WITHOUT_EXTRA)
    return export(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Return three files of different sizes."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{height}.png" for height in (64, 90, 128)]
    for path, height in zip(paths, (64, 90, 128), strict=True):
        Image.fromarray(rng.integers(0, 256, (height, 40, 3), dtype=np.uint8)).save(path)
    return paths


def expected(model: torch.nn.Module, paths: list[Path]) -> np.ndarray:
    """Return the embeddings as an evaluation computes them, without a line of `msinet.export`."""
    pixels = np.stack([decode_rgb(path.read_bytes(), path.name, SIZE) for path in paths])
    with torch.no_grad():
        embedding_ND = model.embed(normalise(torch.from_numpy(pixels)))  # type: ignore[operator]
    return torch.nn.functional.normalize(embedding_ND).numpy()


@pytest.mark.parametrize("format_", MODELS)
def test_every_format_gives_the_embeddings_of_the_network(
    exported: Exported, pictures: list[Path], format_: str
) -> None:
    model = msinet.load(exported.paths[format_], trust=True)
    for count in (1, 3):
        found = model.embed(pictures[:count])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(exported.model, pictures[:count]), atol=2e-6)
    assert model.card == exported.card
    assert model.card.model.options == {"genotype": LETTERS}


def test_the_card_says_what_a_user_needs(exported: Exported) -> None:
    document = exported.card.document()
    assert document["input"] == {"name": "images", "shape": ["batch", 3, *SIZE], "type": "float32"}
    assert document["output"]["shape"] == ["batch", 768]
    assert document["output"]["normalisation"] == "L2"
    assert document["preprocessing"]["channels"] == "RGB"
    assert read_card(exported.paths["safetensors"]) == Card("msinet", {"genotype": LETTERS}, 0, SIZE)


def test_the_onnx_file_is_small_and_without_batch_norms(exported: Exported) -> None:
    onnx = pytest.importorskip("onnx", reason=WITHOUT_EXTRA)
    model = onnx.load(exported.paths["onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    kinds = {node.op_type for node in model.graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds
    assert not any(tensor.external_data for tensor in model.graph.initializer), "one file is enough"
    (image,) = model.graph.input
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_folder_of_openvino_is_a_model(exported: Exported, pictures: list[Path]) -> None:
    folder = exported.paths["openvino"].parent
    assert json.loads((folder / "manifest.json").read_text())["model_kwargs"] == {"img_size": list(SIZE)}
    assert folder.name == "small_openvino_model"
    assert msinet.load(folder).embed(pictures).shape == (3, 768)


@pytest.mark.parametrize("size", [(64, 32), (48, 32)], ids=["even part map", "odd part map"])
@pytest.mark.parametrize("after_neck", [False, True])
def test_the_exported_form_gives_the_same_embeddings(size: tuple[int, int], after_neck: bool) -> None:
    model, images_BCHW = trained(genotype="AAGAAGNENEAG"), torch.randn(2, 3, *size)
    with torch.no_grad():
        embedding_BD = model.embed(images_BCHW, after_neck=after_neck)  # type: ignore[operator]
        expected_BD = torch.nn.functional.normalize(embedding_BD)
        found_BD = ExportForm(model, after_neck)(images_BCHW)
        longer_BD = ExportForm(model, after_neck, normalised=False)(images_BCHW)
    torch.testing.assert_close(found_BD, expected_BD, atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(longer_BD, embedding_BD, atol=1e-5, rtol=1e-4)


def test_paths_pictures_and_arrays_give_the_same_embedding(exported: Exported, pictures: list[Path]) -> None:
    model = msinet.load(exported.paths["safetensors"])
    images = [Image.open(path) for path in pictures]
    np.testing.assert_array_equal(model.embed(images), model.embed(pictures))
    np.testing.assert_array_equal(model.embed([np.asarray(image) for image in images]), model.embed(pictures))


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ([np.zeros((64, 32, 3), np.float32)], ValueError, "RGB levels 0 to 255"),
        ([np.zeros((64, 32), np.uint8)], ValueError, "H×W×3"),
        ([], ValueError, "at least one picture"),
        ("a.jpg", ValueError, "must be a list"),
        (["missing.jpg"], DataError, "missing.jpg"),
    ],
)
def test_wrong_pictures_are_named(exported: Exported, wrong: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        msinet.load(exported.paths["safetensors"]).embed(wrong)


def test_a_file_that_could_run_code_is_opened_only_on_request(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can run code"):
        msinet.load(exported.paths["pt2"])
    marker = tmp_path / "marker"
    trap = tmp_path / "trap.pt2"
    trap.write_bytes(pickle.dumps(_Trap(marker)))
    with pytest.raises(ValueError, match="can run code"):
        msinet.load(trap)
    assert not marker.exists()


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("ending", [".safetensors", ".onnx", ".xml"])
def test_a_damaged_file_is_named(exported: Exported, tmp_path: Path, ending: str) -> None:
    damaged = tmp_path / f"damaged{ending}"
    damaged.write_bytes(b"no model")
    with pytest.raises(ValueError, match=f"damaged{ending} must"):
        msinet.load(damaged)


def test_a_foreign_onnx_file_is_refused(exported: Exported, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason=WITHOUT_EXTRA)
    model = onnx.load(exported.paths["onnx"])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="must hold the card"):
        msinet.load(tmp_path / "foreign.onnx")


def test_weights_of_a_retraining_are_a_model_too(tmp_path: Path, pictures: list[Path]) -> None:
    model = trained()
    save_file(
        model.state_dict(), tmp_path / "w.safetensors", Card("msinet", {"genotype": LETTERS}, 5, SIZE).to_metadata()
    )
    found = msinet.load(tmp_path / "w.safetensors").embed(pictures)
    np.testing.assert_allclose(found, expected(model, pictures), atol=2e-6)


@pytest.mark.parametrize(("name", "dim"), [("osnet", 512), ("resnet50", 2048)])
def test_baselines_are_exported_as_weights(tmp_path: Path, pictures: list[Path], name: str, dim: int) -> None:
    model = trained(name)
    card, paths = write(model, Card(name, {}, 5, SIZE), tmp_path, name, ["safetensors"])
    assert card.dim == dim
    np.testing.assert_allclose(msinet.load(paths["safetensors"]).embed(pictures), expected(model, pictures), atol=2e-6)


def test_after_the_neck_stays_after_the_neck(tmp_path: Path, pictures: list[Path]) -> None:
    model = trained()
    card = Card("msinet", {"genotype": LETTERS}, 5, SIZE)
    _, paths = write(model, card, tmp_path, "neck", ["safetensors"], after_neck=True)
    loaded = msinet.load(paths["safetensors"])
    assert loaded.card.after_neck
    assert not np.allclose(loaded.embed(pictures), expected(model, pictures), atol=1e-3)


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'msinet\[export\]'"):
        library("onnxruntime")


def test_a_network_is_timed_in_another_runtime() -> None:
    for name in LIBRARIES:
        pytest.importorskip(name, reason=WITHOUT_EXTRA)
    model, images_BCHW = trained("osnet", scales=(3,)), torch.randn(2, 3, 32, 16)
    embed = in_runtime(model, Card("osnet", {"scales": [3]}, 0, (32, 16)), "openvino", threads=1)
    with torch.no_grad():
        expected_BD = torch.nn.functional.normalize(model.embed(images_BCHW)).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(embed(images_BCHW).numpy(), expected_BD, atol=2e-6)
    figures = measure(model, (32, 16), torch.device("cpu"), 2, embed)
    assert figures["latency_ms"] > 0
    assert figures["parameters"] == measure(model, (32, 16), torch.device("cpu"), 2)["parameters"]


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tflite"):
        write(trained(), Card("msinet", {"genotype": LETTERS}, 5, SIZE), tmp_path, "x", ["tflite"])


def test_the_metadata_is_json(exported: Exported) -> None:
    assert json.loads(exported.card.to_metadata()["msinet"]) == json.loads(json.dumps(exported.card.document()))
