"""A source that is made of several datasets is searched and trained on like any other; its parts are in-domain."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.grids import run_without_ray, tiny_document

from msinet.data.packed import PackedDataset
from pipeline.bench.collect import collect
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.plan.images import train_images
from pipeline.plan.kinds import SHARDS
from pipeline.plan.preflight import preflight
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.reports.console import comparison, overview
from pipeline.reports.tables import build_tables
from pipeline.storage.workspace import Workspace

ALL = {"name": "all", "of": ["street", "campus"]}


def document(**more: Any) -> dict[str, Any]:
    """Return an experiment on two datasets together, tested on one of them and on a third one."""
    tiny = tiny_document()
    for dataset in tiny["datasets"].values():
        dataset["train_ids"] = 6
    for recipe in (tiny["search"], tiny["retrain"]["in_domain"]):
        recipe["epochs"] = 1
    tiny["datasets"]["station"] = {**tiny["datasets"]["street"], "domain": "station"}
    return {**tiny, "sources": [ALL], "targets": ["street", "station"], **more}


@pytest.fixture(scope="module")
def combined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """Run the experiment to its end."""
    workspace = Workspace(tmp_path_factory.mktemp("combined"))
    return run_without_ray(document(), workspace), workspace


def test_it_is_searched_trained_and_evaluated_like_any_source(combined: tuple[Plan, Workspace]) -> None:
    planned, workspace = combined
    assert all(stage.result for stage in planned.stages.values())
    prepared = planned.stages["prepare all"].result
    assert prepared is not None
    parts = [planned.stages[f"prepare {name}"].result or {} for name in ("street", "campus")]
    assert prepared["identities"] == {"train": sum(part["identities"]["train"] for part in parts)}
    assert prepared["images"] == {"train": sum(part["images"]["train"] for part in parts)}
    packed = PackedDataset(workspace.files(prepared) / SHARDS)
    assert len({record.camid for record in packed.records}) == 4, "two cameras of each dataset"
    (trained,) = [stage.result for stage in planned.of_kind("retrain") if stage.result]
    assert trained["num_classes"] == 12
    domains = {stage.labels["target"]: stage.labels["domain"] for stage in planned.of_kind("evaluate")}
    assert domains == {"street": "in_domain", "station": "cross_domain"}
    table = comparison(planned)
    assert "all" in table
    assert table.count(" *") == 2, "one cell, and the note that explains it"
    assert "all" in overview(planned)


def test_a_part_of_the_experiment_finds_what_is_done(combined: tuple[Plan, Workspace]) -> None:
    _, workspace = combined
    again = plan(Experiment.model_validate(document(name="again")), lookup=workspace.result)
    assert all(stage.result for stage in again.stages.values())
    turned = document(sources=[{**ALL, "of": ["campus", "street"]}])
    other = plan(Experiment.model_validate(turned), lookup=workspace.result)
    assert other.stages["prepare all"].result is None, "the order of the datasets decides the numbers"


def test_recipes_follow_the_domain() -> None:
    retrain = {**tiny_document()["retrain"], "cross_domain": {"epochs": 3, "batch_size": 8, "num_instances": 2}}
    planned = plan(Experiment.model_validate(document(retrain=retrain, genotypes=["MSINet"], splits=[])))
    names = {stage.labels["target"]: stage.needs["model"] for stage in planned.of_kind("evaluate")}
    assert names == {
        "street": "retrain all MSINet in_domain seed 0",
        "station": "retrain all MSINet cross_domain seed 0",
    }


def test_one_dataset_may_be_left_out_in_turn() -> None:
    names = ["street", "campus", "station"]
    left_out = {f"not-{name}": [other for other in names if other != name] for name in names}
    sources = [{"name": name, "of": parts} for name, parts in left_out.items()]
    targets = {f"not-{name}": [name] for name in names}
    planned = plan(Experiment.model_validate(document(sources=sources, targets=targets)))
    evaluations = list(planned.of_kind("evaluate"))
    assert [stage.labels["target"] for stage in evaluations] == names
    assert {stage.labels["domain"] for stage in evaluations} == {"cross_domain"}
    assert len(list(planned.of_kind("prepare"))) == 6


def test_images_are_counted_before_anything_runs() -> None:
    planned = plan(Experiment.model_validate(document()))
    assert train_images(planned, "all") == 2 * train_images(planned, "street") > 0


def test_a_split_needs_enough_identities_of_all_datasets_together(workspace: Workspace) -> None:
    search = {"batch_size": 14, "num_instances": 2}  # 7 identities: more than the 3 of one dataset's smaller side
    fits = Experiment.model_validate(document(search={**tiny_document()["search"], **search}))
    assert preflight(fits, workspace, print) == {}
    search["batch_size"] = 16
    with pytest.raises(RequestError, match="all"):
        preflight(Experiment.model_validate(document(search={**tiny_document()["search"], **search})), workspace, print)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sources": [{"name": "all", "of": ["street"]}]}, "2 to 20 different datasets"),
        ({"sources": [{"name": "all", "of": ["street", "street"]}]}, "2 to 20 different datasets"),
        ({"sources": [{"name": "all", "of": ["street", "camps"]}]}, "Did you mean `campus`"),
        ({"sources": [{"name": "street", "of": ["street", "campus"]}]}, "must not have the name of a dataset"),
        ({"sources": [{"name": "all", "off": ["street"]}]}, "{name: NAME, of: [DATASET, DATASET]}"),
        ({"sources": ["street"], "combined": {"all": ["street", "campus"]}}, "entries of `sources`"),
        ({"sources": [{"name": "a b", "of": ["street", "campus"]}]}, "a name must consist of"),
        ({"sources": [ALL], "targets": ["all"]}, "`targets` must name entries of `datasets`"),
        (
            {"sources": [ALL], "selection": {"by": "domain", "domain": "campus"}},
            "must be neither a source nor a target",
        ),
        (
            {"datasets": {"street": {"kind": "market1501"}, "campus": {"kind": "veri"}}, "image_size": None},
            "must have one picture size",
        ),
    ],
)
def test_a_wrong_combination_is_told(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as told:
        Experiment.model_validate({**document(targets=["street"]), **change})
    assert sentence in str(told.value)


def test_a_file_with_a_combined_source_is_read(tmp_path: Path) -> None:
    import yaml

    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump(document()))
    experiment = load_experiment(file)
    assert experiment.sources == ["all"]
    assert experiment.parts_of("all") == ["street", "campus"]
    assert Experiment.model_validate(experiment.model_dump()) == experiment


def test_tables_and_benches_know_the_domain(combined: tuple[Plan, Workspace]) -> None:
    planned, workspace = combined
    tables = build_tables(planned, "msinet run")
    assert any("all → street" in column.name for table in tables for column in table.columns)
    collected = collect(workspace, [planned])
    assert {(e.source, e.target, e.domain) for e in collected.evaluations} == {
        ("all", "street", "in_domain"),
        ("all", "station", "cross_domain"),
    }
