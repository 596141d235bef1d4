"""An experiment's file is read strictly, and what is wrong with it is told in sentences."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from msinet.recipes import RECIPES
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError


def load(folder: Path, document: Any) -> Experiment:
    path = folder / "experiment.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return load_experiment(path)


def change(document: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    *parents, last = dotted.split(".")
    inner = document
    for part in parents:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return document


def test_what_a_file_does_not_name_is_the_papers(tmp_path: Path) -> None:
    minimal = {
        "name": "minimal",
        "datasets": {"m": {"kind": "market1501", "path": "market"}},
        "sources": ["m"],
        "targets": ["m"],
        "genotypes": ["MSINet"],
    }
    experiment = load(tmp_path, minimal)
    assert experiment.retrain.in_domain == RECIPES["in_domain"]
    assert experiment.retrain.cross_domain == RECIPES["cross_domain"]
    assert experiment.training_size("m") == (256, 128)
    assert experiment.datasets["m"].path == tmp_path / "market", "relative paths start at the file"  # type: ignore[union-attr]


def test_overrides_leave_the_rest_of_a_recipe(tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["retrain"]["cross_domain"] = {"epochs": 5, "augmentation": {"pad": 2}}
    recipe = load(tmp_path, tiny).retrain.cross_domain
    assert recipe != "same"
    assert (recipe.epochs, recipe.augmentation.pad, recipe.augmentation.brightness) == (5, 2, 0.4)
    assert recipe.lr == RECIPES["cross_domain"].lr


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("searchs", {}, "unknown key `searchs`. Did you mean `search`?"),
        ("search.epoch", 3, "unknown key `search.epoch`. Did you mean `epochs`?"),
        ("retrain.in_domain.marign", 3, "unknown key `retrain.in_domain.marign`. Did you mean `margin`?"),
        ("retrain.in_domain.augmentation.padd", 3, "Did you mean `pad`?"),
        ("datasets.street.train_idz", 3, "unknown key `datasets.street.train_idz`. Did you mean `train_ids`?"),
        ("datasets.street.domain", "stret", "must be one of street, station, campus, but got 'stret'"),
        ("datasets.street.kind", "marked1501", "market1501"),
        ("resources.search.gpu", 1, "Did you mean `gpus`?"),
        ("sources", ["stret"], "`sources` must name entries of `datasets`, but got 'stret'. Did you mean `street`?"),
        ("splits", ["60-30"], "60-30"),
        ("splits", ["60-80", "60-80"], "60-80 is repeated"),
        ("genotypes", ["GGEGAGGNGAEX"], "GGEGAGGNGAEX"),
        (
            "search.batch_size",
            30,
            "`batch_size` must be a multiple of `num_instances`, but got batch_size=30, num_instances=4 (search).",
        ),
        ("search.epochs", "many", "`search.epochs`"),
        ("name", None, "`name`"),
    ],
)
def test_what_does_not_hold_is_told(
    tmp_path: Path, tiny: dict[str, Any], setting: str, value: Any, sentence: str
) -> None:
    tiny["search"]["num_instances"] = 4
    with pytest.raises(RequestError) as error:
        load(tmp_path, change(tiny, setting, value))
    assert sentence in str(error.value)


def test_all_that_does_not_hold_is_told_at_once(tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["serach"], tiny["search"]["epoch"] = {}, 3
    with pytest.raises(RequestError) as error:
        load(tmp_path, tiny)
    assert "serach" in str(error.value)
    assert "search.epoch" in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"), [("[1, 2]", "mapping"), ("a: [", "cannot be read"), ("!!python/object:os.system {}", "read")]
)
def test_a_file_that_is_no_experiment(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        load(tmp_path, text)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="does not exist"):
        load_experiment(tmp_path / "none.yaml")


def test_a_manifest_as_a_source_needs_a_size(tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["datasets"]["mine"] = {"kind": "manifest", "path": "mine"}
    tiny["sources"], tiny["image_size"] = ["mine"], None
    with pytest.raises(RequestError, match=r"datasets\.mine\.image_size"):
        load(tmp_path, tiny)


def test_the_demo_loads() -> None:
    demo = load_experiment(Path(__file__).parents[2] / "configs" / "demo.yaml")
    assert len(demo.sources) >= 2
    assert len(demo.targets) >= 2
    assert len(demo.splits) >= 2
