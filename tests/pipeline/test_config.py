"""An experiment's file is read strictly, and what is wrong with it is told in sentences."""

import copy
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import write
from support.tuning import RETRAIN, TUNE

from msinet.recipes import RECIPES
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.plan.estimate import device_hours
from pipeline.plan.unfold import plan


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
        ("name", "a b", "a name must consist of"),
        ("name", "a" * 201, "a name must consist of"),
        ("datasets.street.kind", "market", "Did you mean `market1501`? (datasets.street.kind)."),
        ("datasets.street.kind", "synthetc", "Did you mean `synthetic`?"),
        ("splits", ["60-80 foo"], "`splits.0.supervision` must be 'tcm' or 'softmax', but got 'foo'."),
        ("splits", ["60/80"], "a split must be written as two percentages such as 60-80, but got '60/80' (splits.0)."),
        ("splits", {"street": ["60/80"]}, "but got '60/80' (splits.street.0)."),
        ("splits", "60-80", "`splits` must be a list or a mapping, but got '60-80'."),
        ("splits", [{"split": "60-80", "supervison": "tcm"}], "`splits.0.supervison`. Did you mean `supervision`?"),
        ("splits", [{"split": "a b", "file": "x"}], "a name must consist of"),
        ("targets", {"street": "street"}, "`targets.street` must be a list, but got 'street'."),
        ("retrain.cross_domain", "sam", "`retrain.cross_domain` must be 'same' or a mapping, but got 'sam'."),
        ("retrain.cross_domain", {"epochs": "x"}, "`retrain.cross_domain.epochs` must be a whole number, but got 'x'."),
        ("networks", [{"name": "osnet", "scale": [3]}], "`networks.0.scale`. Did you mean `scales`?"),
        ("resources.search.gpus", "all", "`resources.search.gpus` must be a number or 'auto', but got 'all'."),
        ("resources.lease_seconds", float("inf"), "`resources.lease_seconds` must be a finite number, but got inf."),
        ("resources.lease_seconds", 1e12, "`resources.lease_seconds` must be at most 86400.0, but got"),
        ("checkpoint_every", float("inf"), "`checkpoint_every` must be a finite number"),
        ("resources.search.gpus", float("inf"), "`resources.search.gpus` must be a finite number"),
        ("search.lr", float("inf"), "`search.lr` must be a finite number, but got inf."),
        ("search_seeds", [10**30], "`search_seeds.0` must be at most 9223372036854775807"),
        ("tune", {"storage": ["postgresql://me:secret@x/y"]}, "`tune.storage` must be a text, but got a list of 1."),
    ],
)
def test_what_does_not_hold_is_told(
    tmp_path: Path, tiny: dict[str, Any], setting: str, value: Any, sentence: str
) -> None:
    tiny["search"]["num_instances"] = 4
    with pytest.raises(RequestError) as error:
        load(tmp_path, change(tiny, setting, value))
    assert sentence in str(error.value)
    assert "secret" not in str(error.value)
    if "tune" not in setting:
        assert len(str(error.value).splitlines()) == 1, "no other setting is wrong"


@pytest.mark.parametrize("name", ["manifest", "market1501", "spec", "synthetic", "disk", "kind", "int", "str"])
def test_any_name_of_a_dataset_is_told(tmp_path: Path, tiny: dict[str, Any], name: str) -> None:
    tiny["datasets"][name] = {"kind": "synthetic", "train_idz": 3}
    tiny["targets"] = {name: [3]}
    tiny["splits"] = {name: ["60/80"]}
    with pytest.raises(RequestError) as error:
        load(tmp_path, tiny)
    told = str(error.value)
    assert f"unknown key `datasets.{name}.train_idz`. Did you mean `train_ids`?" in told
    assert f"`targets.{name}.0` must be a text, but got 3." in told
    assert f"(splits.{name}.0)" in told
    tiny["datasets"][name] = {"kind": "market1501", "paht": "x"}
    with pytest.raises(RequestError) as error:
        load(tmp_path, tiny)
    assert f"unknown key `datasets.{name}.paht`. Did you mean `path`?" in str(error.value)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "a\nb", "a\x1b[31m", "a b", "", "-a", "@a", "a" * 201, "a/b", "é"])
def test_a_name_that_could_mean_something_elsewhere_is_refused(tmp_path: Path, tiny: dict[str, Any], name: str) -> None:
    tiny["datasets"][name] = {"kind": "market1501"}
    with pytest.raises(RequestError) as error:
        load(tmp_path, tiny)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_file_with_many_faults_names_the_first_ones(tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["search_seeds"] = ["x"] * 1000
    with pytest.raises(RequestError) as error:
        load(tmp_path, tiny)
    lines = str(error.value).splitlines()
    assert len(lines) == 21
    assert lines[-1].endswith("and 980 more errors.")


VALUES = [None, -1, 0, 1e308, 10**90, "x", "", "~nobody-has-this-name/x", "x" * 5000, [], [[]], {}, {"x": 1}, {1: 2}]
VALUES += [True, {"kind": "market1501"}, {"name": "x"}, {"split": "x", "file": "x" * 300}]


def settings_of(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*place, key)
        yield from settings_of(part, (*place, key))


def test_any_value_at_any_setting_is_read_or_refused(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """Each setting gets some of the values in turn. What is accepted can be planned too."""
    everything = Experiment.model_validate({**tiny, "tune": {**TUNE, **RETRAIN}}).model_dump(mode="json")
    everything["retrain"]["cross_domain"] = "same"
    del everything["retrain"]["strong_baseline"]
    values = itertools.cycle(VALUES)
    outcomes: Counter[str] = Counter()
    for place in settings_of(everything):
        for value in itertools.islice(values, 4):
            document = copy.deepcopy(everything)
            inner = document
            for part in place[:-1]:
                inner = inner[part]
            inner[place[-1]] = value
            try:
                device_hours(plan(load(tmp_path, json.dumps(document))), {})
                outcomes["accepted"] += 1
            except RequestError:
                outcomes["refused"] += 1
    assert outcomes["refused"] > 300
    assert outcomes["accepted"] > 20


def test_weights_for_an_unknown_name_are_refused(tmp_path: Path, tiny: dict[str, Any]) -> None:
    path = write(tmp_path, {**tiny, "genotypes": ["MSINet"]})
    with pytest.raises(RequestError, match=r"`--weights` must name .* but got 'MSINett'. Did you mean `MSINet`"):
        load_experiment(path, weights=["MSINett=/w"])
    with pytest.raises(RequestError, match="only once, but got 'MSINet' again"):
        load_experiment(path, weights=["MSINet=/w", "MSINet=/v"])
    assert load_experiment(path, weights=["MSINet=/w"]).weights == {"MSINet": Path("/w")}


@pytest.mark.parametrize("path", ["~nobody-has-this-name/x", "a\nb", "a\x1b[31m"])
def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path, tiny: dict[str, Any], path: str) -> None:
    tiny["datasets"]["m"] = {"kind": "market1501"}
    with pytest.raises(RequestError, match="must") as error:
        load_experiment(write(tmp_path, tiny), data=[f"m={path}"])
    assert str(error.value).isprintable()


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
