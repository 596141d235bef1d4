"""`msinet export`, `verify`, `embed` and `search-gallery` from the command line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from support.exports import LIBRARIES, WITHOUT_EXTRA, trained

import msinet
from msinet.data import synthetic
from msinet.interop.card import Card
from pipeline.cli import main
from pipeline.storage.workspace import Workspace

SIZE = (32, 16)
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a generated dataset with three cameras."""
    folder = tmp_path_factory.mktemp("data") / "street"
    synthetic.write(synthetic.SyntheticSpec(train_ids=6, test_ids=6, cameras=3, height=32), folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights of a small network with a card."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    model = trained("osnet", scales=(3,))
    save_file(model.state_dict(), path, Card("osnet", {"scales": [3]}, 5, SIZE).to_metadata())
    return path


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a verb, and returns its exit code and all that it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return int(end.value.code or 0), "".join(capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def exported(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ONNX, INT8 and safetensors files of the network, all verified on the dataset."""
    for name in LIBRARIES:
        pytest.importorskip(name, reason=WITHOUT_EXTRA)
    folder = tmp_path_factory.mktemp("exported")
    place = ["--workspace", str(folder / "workspace")]
    formats = ["--format", "safetensors", "--format", "onnx", "--int8", f"manifest={data}"]
    for arguments in (
        ["export", str(weights), "-o", str(folder), *formats, *place],
        ["verify", str(folder / "small.onnx"), "--data", f"manifest={data}", *place],
        ["verify", str(folder / "small_int8.onnx"), "--data", f"manifest={data}", *place],
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0, arguments
    return folder


def test_an_export_ranks_as_the_network_does_and_its_card_says_so(exported: Path) -> None:
    card = json.loads((exported / "small.json").read_text())
    proofs = {proof["file"]: proof for proof in card["verified"]}
    exact, int8 = proofs["small.onnx"], proofs["small_int8.onnx"]
    assert exact["largest_difference"] < 1e-5
    assert exact["mAP_difference"]["estimate"] == pytest.approx(0, abs=1e-4)
    assert exact["top10_agreement"] > 0.99
    assert int8["largest_difference"] > 1e-4, "eight bits are not exact"
    assert int8["smallest_cosine"] > 0.9
    difference = int8["mAP_difference"]
    assert difference["low"] <= difference["estimate"] <= difference["high"]
    assert int8["mAP"]["estimate"] - exact["mAP"]["estimate"] == pytest.approx(difference["estimate"], abs=1e-4)


def test_the_card_holds_thresholds_and_their_picture(exported: Path) -> None:
    card = json.loads((exported / "small.json").read_text())
    (target,) = [entry for entry in card["operating_points"] if entry["file"] == "small.onnx"]
    assert [point["wanted"] for point in target["points"]] == [1e-2], "smaller rates need more pairs"
    assert (exported / target["picture"]).read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_a_user_needs(exported: Path) -> None:
    page = (exported / "small.md").read_text()
    for said in ("msinet.load", "RGB", "32×16", "small_int8.onnx", "surveillance", "research", "false-positive rate"):
        assert said in page
    assert "None" not in page
    assert "nan" not in page.split()


def test_verifying_again_replaces_the_proof(exported: Path, data: Path, run: Run) -> None:
    code, said = run(
        "verify", exported / "small.onnx", "--data", f"manifest={data}", "--workspace", exported / "workspace"
    )
    assert code == 0, said
    assert "same top 10" in said
    assert len(json.loads((exported / "small.json").read_text())["verified"]) == 2


def test_a_file_of_other_weights_is_not_verified(exported: Path, data: Path, run: Run, tmp_path: Path) -> None:
    tensors = load_file(exported / "small.safetensors")
    name = "conv1.conv.weight"
    other = tmp_path / "other.safetensors"
    save_file({**tensors, name: tensors[name] + 1}, other, Card("osnet", {"scales": [3]}, 0, SIZE).to_metadata())
    code, said = run("verify", exported / "small.onnx", "--data", f"manifest={data}", "--against", other)
    assert code == 2
    assert "other weights" in said


def test_a_folder_is_embedded_and_searched(exported: Path, data: Path, run: Run, tmp_path: Path) -> None:
    pictures, out = tmp_path / "crops", tmp_path / "crops.parquet"
    (pictures / "deep").mkdir(parents=True)
    sources = sorted(data.rglob("*.jpg"))[:5]
    for number, source in enumerate(sources):
        (pictures / "deep" / f"{number}.jpg").write_bytes(source.read_bytes())
    (pictures / "broken.jpg").write_bytes(sources[0].read_bytes()[:100])
    code, said = run("embed", pictures, "--model", exported / "small.onnx", "-o", out)
    assert code == 1, "one picture could not be read"
    assert "broken.jpg" in said
    table = pq.read_table(out)
    assert table.column("path").to_pylist() == [f"deep/{n}.jpg" for n in range(5)]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 512)
    model = msinet.load(exported / "small.onnx")
    found = np.array(table.column("embedding").to_pylist(), np.float32)
    np.testing.assert_allclose(found, model.embed(sources), atol=1e-6)
    query = pictures / "deep" / "3.jpg"
    code, said = run("search-gallery", out, query, "--model", exported / "small.safetensors", "-k", "2")
    assert code == 0, said
    assert "deep/3.jpg" in said.splitlines()[3]
    code, said = run("search-gallery", out, query, "--model", exported / "small.onnx", "--threshold", "0.00001")
    assert "deep/3.jpg" in said
    assert "deep/0.jpg" not in said


def test_a_gallery_of_another_model_is_refused(exported: Path, data: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    picture = next(data.rglob("*.jpg"))
    schema = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32(), 512))], {"msinet": "{}"})
    pq.write_table(pa.table([["a"], [[0.0] * 512]], schema=schema), out)
    code, said = run("search-gallery", out, picture, "--model", exported / "small.onnx")
    assert code == 2
    assert "by another one" in said


def published(workspace: Workspace, kind: str, key: str, result: dict[str, Any], **files: bytes) -> None:
    """Publish a result as a stage does."""
    attempt = workspace.begin(kind, key)
    for name, content in files.items():
        (attempt.folder / name.replace("__", ".")).write_bytes(content)
    workspace.publish(attempt, {"started": 1.0, "seconds": 1.0, **result})


def test_a_retraining_is_exported_by_its_key(weights: Path, run: Run, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    workspace.make()
    recipe = {"epochs": 2, "batch_size": 8, "optimizer": "sgd", "lr": 0.1, "alignment": "none"}
    spec = {"source_data": "ab" * 32, "seed": 7, "recipe": recipe}
    retrain = {"network": "osnet", "spec": spec}
    published(workspace, "retrain", "a1b2c3d4e5", retrain, weights__safetensors=weights.read_bytes())
    metrics = {"mAP": 0.5, "rank1": 0.75, "num_valid_queries": 8}
    evaluate = {"spec": {"model": "a1b2c3d4e5", "target_data": {"fingerprint": "cd" * 32}}, "metrics": metrics}
    columns = {"pid": list("aabbccdd"), "average_precision": [0.5] * 8, "first_match_rank": [1] * 6 + [2] * 2}
    pq.write_table(pa.table(columns), tmp_path / "q.parquet")
    published(workspace, "evaluate", "e5", evaluate, per_query__parquet=(tmp_path / "q.parquet").read_bytes())
    place = ("--workspace", workspace.address)
    code, said = run("export", "a1b2c3", "-o", tmp_path / "out", "--format", "safetensors", *place)
    assert code == 0, said
    card = json.loads((tmp_path / "out" / "osnet_a1b2c3d4.json").read_text())
    assert card["training"]["seed"] == 7
    (score,) = card["scores"]
    assert score["rank1"]["low"] < 0.75 < score["rank1"]["high"]
    assert "75.0" in (tmp_path / "out" / "osnet_a1b2c3d4.md").read_text()
    code, said = run("export", "ffffff", "-o", tmp_path / "out", *place)
    assert code == 2
    assert "no retraining has a key that begins with ffffff" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("export", "missing.safetensors", "-o", "x"), "missing.safetensors"),
        (("export", "WEIGHTS", "-o", "x", "--name", "../a"), "`--name` must consist of"),
        (("export", "WEIGHTS", "-o", "x", "--format", "tflite"), "tflite"),
        (("verify", "missing.onnx", "--data", "manifest=x"), "must be missing.json"),
        (("embed", "missing", "--model", "WEIGHTS", "-o", "x"), "missing is none"),
        (("embed", ".", "--model", "missing.onnx", "-o", "x"), "missing.onnx"),
        (("search-gallery", "WEIGHTS", "a.jpg", "--model", "WEIGHTS"), "GALLERY must be a file that `msinet embed`"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    weights: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(*(str(weights) if word == "WEIGHTS" else word for word in arguments))
    assert code == 2, said
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "openvino"])
def test_a_missing_extra_is_one_sentence(
    weights: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in ("onnx", "onnxscript", "openvino"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    code, said = run("export", weights, "-o", tmp_path / "out")
    assert code == 2
    assert f"`{package}`" in said
    assert "pip install 'msinet[export]'" in said
