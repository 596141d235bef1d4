"""Schemes in experiments: how files name them, what they change of keys and names, and what a search's result holds."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.grids import made, run_without_ray, tiny_document

from msinet.schemes import MIXTURE, SCHEMES
from msinet.schemes.gdas import Gdas
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.plan.kinds import KINDS, found_genotype
from pipeline.plan.unfold import plan
from pipeline.reports.labels import network_name
from pipeline.tracking.facts import specification

LAB = Path(__file__).parents[2] / "configs" / "lab" / "schemes.yaml"
TABLE = {
    "device": "a device",
    "image_size": [32, 16],
    "batch_size": 1,
    "base_ms": 10.0,
    "operations_ms": [[0.0, 1.0, 2.0, 0.0]] * 12,
}


def searches(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage.name: stage.settings for stage in plan(Experiment.model_validate(document)).of_kind("search")}


def refused(folder: Path, document: dict[str, Any]) -> str:
    (folder / "experiment.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(RequestError) as error:
        load_experiment(folder / "experiment.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_default_scheme_stays_out_of_specifications() -> None:
    document = tiny_document()
    plain = searches(document)
    for spelled in ("mixture", {"name": "mixture"}):
        document["search"]["scheme"] = spelled
        assert searches(document) == plain
    assert "scheme" not in str(plain)
    described = specification(Experiment.model_validate(document))
    assert "scheme" not in str(described)


@pytest.mark.parametrize("name", sorted(SCHEMES.keys() - {"mixture"}))
def test_a_scheme_is_named_in_the_recipe_or_in_an_entry_of_splits(name: str) -> None:
    document = tiny_document()
    document["search"]["scheme"] = name
    (recipe,) = searches(document).values()
    assert recipe["recipe"]["scheme"]["name"] == name
    document = tiny_document() | {"splits": ["60-80", {"split": "60-80", "scheme": {"name": name}}]}
    experiment = Experiment.model_validate(document)
    built = plan(experiment)
    assert [stage.name for stage in built.of_kind("search")] == [
        "search street 60-80 seed 0",
        f"search street 60-80 {name} seed 0",
    ]
    assert built.stages[f"search street 60-80 {name} seed 0"].settings == recipe
    names = {network_name(stage) for stage in built.of_kind("retrain")}
    assert names == {"60-80 TCM", f"60-80 TCM, {name}"}
    assert str(specification(experiment)).count("scheme") == 1


def test_equal_settings_are_equal_specifications() -> None:
    document = tiny_document()
    spellings = ["gdas", {"name": "gdas"}, {"name": "gdas", "temperatures": [10, 0.1]}]
    found = []
    for spelling in spellings:
        document["search"]["scheme"] = spelling
        found.append(json.dumps(searches(document), sort_keys=True))
    assert len(set(found)) == 1
    assert Experiment.model_validate(document).search.scheme == Gdas()
    assert Experiment.model_validate(tiny_document()).search.scheme == MIXTURE


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ("gdsa", "a scheme must have a known `name`, but got 'gdsa'. Did you mean `gdas`? (search.scheme)"),
        (5, "a scheme must have a known `name`, but got 5."),
        ({"k": 2}, "the scheme mixture has no setting 'k'."),
        ({"name": "gdas", "tau": 1}, "the scheme gdas has no setting 'tau'. Known: name, temperatures (search.scheme)"),
        (
            {"name": "gdas", "temperatures": [1, 2]},
            "not above the first, but got (1.0, 2.0) (search.scheme)",
        ),
        ({"name": "partial_channels", "k": 3}, "`search.scheme.k` must be 2 or 4, but got 3."),
        ({"name": "one_shot", "parents": "x"}, "`search.scheme.parents` must be a whole number, but got 'x'."),
        ({"name": "one_shot", "max_latency_ms": 3}, "`max_latency_ms` needs a `latency` table"),
        (
            {"name": "one_shot", "max_parameters": 2e6},
            "of the smallest genotype, 2321600, but got 2000000 (search.scheme)",
        ),
        ({"name": "one_shot", "latency": "none.json"}, "a latency table must be a YAML file, but"),
        (
            {"name": "one_shot", "latency": {**TABLE, "image_size": [64, 32]}},
            "must be measured with pictures of 32×16, as the search sees them, but it is for 64×32",
        ),
    ],
)
def test_what_is_wrong_with_a_scheme_is_one_sentence(tmp_path: Path, scheme: Any, sentence: str) -> None:
    document = tiny_document()
    document["search"]["scheme"] = scheme
    assert sentence in refused(tmp_path, document)


def test_what_does_not_go_with_a_scheme(tmp_path: Path) -> None:
    document = tiny_document() | {"rank": True}
    document["search"]["scheme"] = "partial_channels"
    assert "`rank` takes whole operations from supernets" in refused(tmp_path, document)
    document = tiny_document() | {"derive": {"candidates": 7}}
    document["search"]["scheme"] = {"name": "one_shot", "population": 3, "generations": 2}
    assert "at most the number of genotypes that the scheme one_shot evaluates, 6" in refused(tmp_path, document)


def test_a_latency_table_counts_by_its_numbers_and_not_by_its_place(tmp_path: Path) -> None:
    specs = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (folder / "table.json").write_text(json.dumps(TABLE))
        document = tiny_document()
        document["splits"] = [{"split": "60-80", "scheme": {"name": "one_shot", "latency": "table.json"}}]
        (folder / "experiment.yaml").write_text(yaml.safe_dump(document))
        (search,) = plan(load_experiment(folder / "experiment.yaml")).of_kind("search")
        specs.append(json.dumps(search.settings))
    assert specs[0] == specs[1]
    assert json.loads(specs[0])["recipe"]["scheme"]["latency"]["base_ms"] == 10


def test_the_schemes_of_the_laboratory_plan() -> None:
    built = plan(load_experiment(LAB))
    named = {stage.labels.get("scheme", "mixture") for stage in built.of_kind("search")}
    assert {"mixture", "gdas", "partial_channels", "one_shot"} <= named <= SCHEMES.keys()


def test_a_one_shot_search_ends_in_a_set_whose_members_can_be_retrained(tmp_path: Path) -> None:
    short = {"name": "one_shot", "population": 2, "generations": 2, "recalibration": 16, "latency": TABLE}
    document = tiny_document() | {"targets": []}
    document["search"] |= {"scheme": short, "epochs": 1}
    workspace = made(tmp_path / "workspace")
    built = run_without_ray(document, workspace)
    (search,) = built.of_kind("search")
    assert search.result is not None
    ranked = search.result["ranked"]
    assert len(ranked) == 4
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    best = search.result["pareto"][0]
    assert best["genotype"] == ranked[0][0] == search.result["genotype"]
    assert best.keys() == {"genotype", "mAP", "parameters", "gmacs", "latency_ms"}
    assert "alphas" not in search.result
    assert search.result["genotype"] in KINDS["search"].outcome(search.result)
    lines = [json.loads(line) for line in workspace.file(search.result, "history.jsonl").read_text().splitlines()]  # type: ignore[union-attr]
    assert [line.get("evaluations") for line in lines] == [None, 2, 2]
    assert [found_genotype(search.result, number) for number in (1, 2, 4)] == [ranked[i][0] for i in (0, 1, 3)]
    with pytest.raises(ValueError, match="at most the number of evaluated genotypes, 4"):
        found_genotype(search.result, 5)
