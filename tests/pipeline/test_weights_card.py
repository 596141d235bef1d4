"""Files of weights say which network they hold, and whoever asks for another one is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.grids import tiny_document

from msinet import build_model
from msinet.data import synthetic
from msinet.data.transforms import MEAN
from msinet.interop import Card, load_released, read_card
from msinet.interop.card import require_card
from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.preflight import require_fitting_weights
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace

LETTERS = "GGEGAGGNGAEA"
DAMAGED = '{"network": "msinet", "options": {}, "num_classes": "many", "image_size": [32, 16]}'
SWAPPED = LETTERS.replace("N", "x").replace("E", "N").replace("x", "E")  # the same weights: neither has any


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `data`, weights with a card `model.safetensors`, and the same without one."""
    folder = tmp_path_factory.mktemp("card")
    synthetic.write(synthetic.SyntheticSpec(train_ids=2, test_ids=3, height=32), folder / "data")
    torch.manual_seed(0)
    state = build_model("msinet", num_classes=5, genotype=LETTERS).state_dict()
    card = Card("msinet", {"genotype": LETTERS}, 5, (32, 16))
    save_file(state, folder / "model.safetensors", card.to_metadata())
    save_file(state, folder / "bare.safetensors")
    torch.save(state, folder / "bare.pth")
    return folder


@pytest.fixture
def evaluate(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run `msinet evaluate` on the dataset; returns its exit code and all that it printed."""

    def run(file: str, *options: str) -> tuple[int, str]:
        arguments = ["evaluate", str(folder / file), "--data", f"manifest={folder / 'data'}", *options]
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--workspace", str(tmp_path / "workspace")])
        return int(end.value.code or 0), "".join(capsys.readouterr())

    return run


Evaluate = Callable[..., tuple[int, str]]


def test_a_card_is_enough(evaluate: Evaluate) -> None:
    code, by_card = evaluate("model.safetensors")
    assert code == 0
    assert "could not be checked" not in by_card
    code, by_hand = evaluate("bare.safetensors", "--genotype", LETTERS, "--image-size", "32", "16")
    assert code == 0
    assert by_card.splitlines()[-1] == by_hand.splitlines()[-1], "the same scores"


@pytest.mark.parametrize("file", ["bare.safetensors", "bare.pth"])
def test_a_file_without_a_card_is_not_checked_and_that_is_said(evaluate: Evaluate, file: str) -> None:
    code, output = evaluate(file, "--genotype", LETTERS, "--image-size", "32", "16")
    assert code == 0
    assert output.count("could not be checked") == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--genotype", SWAPPED], f"those of msinet (genotype {LETTERS}), but msinet (genotype {SWAPPED}) was asked"),
        (["--network", "osnet"], "those of msinet"),
        (["--network", "resnet50"], "those of msinet"),
        (["--scales", "7", "--scales", "9"], "those of msinet"),
        (["--image-size", "64", "32"], "32×16 pixels, but got (64, 32)"),
    ],
)
def test_who_asks_for_something_else_is_refused(evaluate: Evaluate, options: list[str], sentence: str) -> None:
    code, output = evaluate("model.safetensors", *options)
    assert code == 2
    assert sentence in output
    assert "Traceback" not in output


@pytest.mark.parametrize("options", [["--genotype", LETTERS], ["--genotype", "MSINet"], ["--image-size", "32", "16"]])
def test_who_asks_for_what_is_there_is_served(evaluate: Evaluate, options: list[str]) -> None:
    code, _ = evaluate("model.safetensors", *options)
    assert code == 0


def test_a_card_survives_its_file(folder: Path) -> None:
    card = read_card(folder / "model.safetensors")
    assert card == Card("msinet", {"genotype": LETTERS}, 5, (32, 16))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        preprocessing = json.loads(file.metadata()["msinet"])["preprocessing"]
    assert preprocessing["mean"] == list(MEAN)
    assert preprocessing["channels"] == "RGB"


@pytest.mark.parametrize("text", ["{", "null", "{}", "[1]", '{"network": 1, "options": {}}', DAMAGED])
def test_a_damaged_card_is_named(evaluate: Evaluate, folder: Path, text: str) -> None:
    metadata = {"msinet": text}
    save_file(load_file(folder / "model.safetensors"), folder / "damaged.safetensors", metadata)
    code, output = evaluate("damaged.safetensors")
    assert code == 2
    assert "damaged.safetensors is damaged" in output


def test_a_released_file_with_another_genotype_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="was asked for"):
        load_released(folder / "model.safetensors", SWAPPED)


def test_stages_write_cards(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    cards = {}
    for kind in ("search", "retrain"):
        result: Any = next(planned.of_kind(kind)).result
        cards[kind] = read_card(workspace.files(result) / WEIGHTS)
    (retrain,) = planned.of_kind("retrain")
    assert retrain.result is not None
    assert cards["retrain"] == Card("msinet", {"genotype": retrain.result["genotype"]}, 10, (32, 16))
    assert cards["search"] == Card("supernet", {}, 0, (32, 16))


def test_a_searchs_weights_cannot_be_evaluated(
    evaluate: Evaluate, folder: Path, finished: tuple[Plan, Workspace]
) -> None:
    planned, workspace = finished
    result: Any = next(planned.of_kind("search")).result
    (folder / "search.safetensors").write_bytes((workspace.files(result) / WEIGHTS).read_bytes())
    code, output = evaluate("search.safetensors")
    assert code == 2
    assert "holds the weights of a search: give those of a retraining" in output


def test_a_start_from_another_genotype_is_refused(folder: Path) -> None:
    document = tiny_document() | {"splits": [], "genotypes": [SWAPPED], "starts": ["pretrained"]}
    experiment = Experiment.model_validate(document)
    weights = {SWAPPED: folder / "model.safetensors"}
    planned = plan(experiment.model_copy(update={"weights": weights}))
    with pytest.raises(RequestError, match="was asked for"):
        require_fitting_weights(planned)
    require_card(folder / "bare.safetensors", "msinet", {"genotype": SWAPPED})  # nothing is known, nothing is refused


SIZE = ("--image-size", "32", "16")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--genotype", LETTERS, "--image-size", "0", "0"), "must have 16 to 4096 pixels, but got (0, 0)"),
        (("--genotype", LETTERS, "--image-size", "-1", "5"), "must have 16 to 4096 pixels, but got (-1, 5)"),
        (("--genotype", LETTERS, "--image-size", "99999", "99999"), "must have 16 to 4096 pixels"),
        (("--network", "osnet", "--scales", "4"), "`scales.0` must be 3, 5, 7 or 9, but got 4."),
        (("--genotype", LETTERS, *SIZE, "--data", "manifest="), "`--data` must be KIND=PATH"),
        (("--genotype", LETTERS, *SIZE, "--data", "manifest=~nobody-has-this-name/x"), "the home folder"),
    ],
)
def test_an_impossible_option_is_one_sentence(evaluate: Evaluate, options: tuple[str, ...], sentence: str) -> None:
    code, said = evaluate("bare.safetensors", *options)
    assert code == 2
    assert sentence in said
    assert "pydantic" not in said
