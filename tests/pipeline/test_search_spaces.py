"""Experiments in spaces other than the paper's, from the file to the evaluation, and their keys."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from support.command_line import write
from support.grids import made, run_without_ray

from msinet.genotype import Genotype
from msinet.interop.card import read_card
from msinet.models import build_model
from msinet.spaces import PAPER_SPACE, load
from pipeline.by_hand import _checked as checked_card
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.reports.certainty import alphas_of
from pipeline.reports.write import content_of, write_report
from pipeline.storage.workspace import Workspace

MINE = {
    "name": "mine",
    "operations": [["sum", "none"], *[["channel_gate", "concat_project", "spatial_gate"]] * 11],
    "scales": [3, 5, 7],
    "width": 0.25,
    "instance_norm": [1],
}


def keys(document: dict[str, Any]) -> dict[str, str | None]:
    def answered(kind: str, key: str) -> dict[str, Any]:
        shown = {"fingerprint": "whole", "train_fingerprint": "train", "protocol": "fixed"}
        return {**shown, "key": key, "genotype": "GGGGGGGGGGGG"}

    planned = plan(Experiment.model_validate(document), lookup=answered)
    return {stage.name: stage.key for stage in planned.stages.values()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """A search in a space of a user's own, retrainings of two genotypes that it found and of one of another space."""
    from support.grids import tiny_document

    workspace = made(tmp_path_factory.mktemp("workspace"))
    document = tiny_document() | {"space": MINE, "targets": ["campus"], "derive": {"candidates": 2}, "rank": True}
    document["genotypes"] = ["half_width:NNNNNNNNNNNN"]
    for recipe in (document["search"], document["retrain"]["in_domain"]):
        recipe["epochs"] = 1
    return run_without_ray(document, workspace), workspace


def test_search_retraining_and_evaluation_run_in_a_users_space(finished: tuple[Plan, Workspace]) -> None:
    planned, _ = finished
    assert all(stage.result for stage in planned.stages.values())
    (search,) = planned.of_kind("search")
    assert search.result is not None
    found = Genotype.parse(search.result["genotype"], planned.experiment.space)
    assert str(found) == search.result["genotype"] == f"mine:{found.letters}"
    assert len(search.result["alphas"][0]) == len(planned.experiment.space.columns) == 5
    evaluated = {str(stage.result["genotype"]) for stage in planned.of_kind("evaluate") if stage.result}
    assert evaluated >= {str(found), "half_width:NNNNNNNNNNNN"}
    assert len(evaluated) == 3, "the second candidate of the search is another genotype"
    scored = {str(stage.result["genotype"]) for stage in planned.of_kind("score") if stage.result}
    assert scored == evaluated - {"half_width:NNNNNNNNNNNN"}, "a supernet has weights for its own space only"


def test_files_hold_strict_json_also_where_a_slot_does_not_offer_an_operation(
    finished: tuple[Plan, Workspace],
) -> None:
    planned, workspace = finished
    assert workspace.root is not None
    paths = [path for ending in ("json", "jsonl") for path in workspace.root.rglob(f"*.{ending}")]
    for path in paths:
        for text in path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(text, parse_constant=lambda name, path=path: pytest.fail(f"{path} holds {name}"))
    (search,) = planned.of_kind("search")
    assert search.result is not None
    alphas = alphas_of(workspace, search.result)[-1]
    offered = MINE["operations"][0]  # type: ignore[index]
    assert [value is not None for value in alphas[0]] == [name in offered for name in planned.experiment.space.columns]
    assert alphas == search.result["alphas"]


def test_a_card_holds_the_whole_space(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    for stage in planned.of_kind("retrain"):
        assert stage.result is not None
        path = workspace.files(stage.result) / WEIGHTS
        card = read_card(path)
        assert card is not None
        assert card.options["space"]["name"] == card.options["genotype"].split(":")[0]
        model = build_model(card.network, num_classes=card.num_classes, **card.options)
        model.load_state_dict(safetensors.torch.load_file(path))
        assert str(card) == f"msinet (genotype {card.options['genotype']})"


def test_weights_are_evaluated_without_the_file_of_their_space(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    stage = next(stage for stage in planned.of_kind("retrain") if stage.needs.get("genotype"))
    assert stage.result is not None
    path, genotype = workspace.files(stage.result) / WEIGHTS, stage.result["genotype"]
    for given in ({}, {"genotype": genotype}, {"genotype": genotype.removeprefix("mine:")}):
        network, options, _ = checked_card(path, None, given, None)
        assert (network, options) == ("msinet", stage.result["options"])
    with pytest.raises(ValueError, match=r"are those of msinet \(genotype mine:.* but msinet \(genotype GGE"):
        checked_card(path, None, {"genotype": "MSINet"}, None)


def test_a_search_says_what_its_supernet_is(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    (search,) = planned.of_kind("search")
    assert search.result is not None
    card = read_card(workspace.files(search.result) / WEIGHTS)
    assert card is not None
    assert card.options == {"space": planned.experiment.space.to_document()}


def test_keys_differ_between_spaces_and_not_for_the_papers(tiny: dict[str, Any]) -> None:
    document = tiny | {"genotypes": ["MSINet"], "measure": True}
    paper = keys(document)
    assert keys(document | {"space": "msinet"}) == paper
    other = keys(document | {"space": "four_branches"})
    assert other["search street 60-80 seed 0"] != paper["search street 60-80 seed 0"]
    named = "retrain street MSINet in_domain seed 0"
    assert other[named] == paper[named], "a published genotype is one of the paper's space"
    letters = keys(document | {"space": "four_branches", "genotypes": ["GGEGAGGNGAEA"]})
    assert letters["retrain street GGEGAGGNGAEA in_domain seed 0"] not in paper.values()


def test_the_content_of_a_space_decides_keys(tiny: dict[str, Any]) -> None:
    search = "search street 60-80 seed 0"
    assert keys(tiny | {"space": MINE})[search] != keys(tiny | {"space": MINE | {"width": 0.5}})[search]
    shuffled = MINE | {"operations": [["none", "sum"], *[["spatial_gate", "channel_gate", "concat_project"]] * 11]}
    assert keys(tiny | {"space": shuffled}) == keys(tiny | {"space": MINE})


def test_a_space_file_lies_beside_the_experiment(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.yaml").write_text("name: mine\nwidth: 0.25\n")
    experiment = load_experiment(
        write(tmp_path, tiny | {"space": "spaces/mine.yaml", "genotypes": ["mine:" + "E" * 12]})
    )
    assert experiment.space.width == 0.25
    again = Experiment.model_validate(experiment.model_dump(mode="json"))
    assert again == experiment
    assert load_experiment(write(tmp_path, tiny | {"space": "instance_norm"})).space == load("instance_norm")
    assert load_experiment(write(tmp_path, tiny)).space == PAPER_SPACE


@pytest.mark.parametrize(
    ("changed", "file", "message"),
    [
        ({"space": "four_branch"}, None, "`space` must be one that comes.* got 'four_branch'.*`four_branches`"),
        ({"space": "mine.yaml"}, "name: mine\nscales: [1, 3]", "mine.yaml: `scales` must be 2 to 4 of 3, 5, 7 and 9"),
        ({"space": "mine.yaml"}, "name: mine\nname: other", "a space must be a YAML file, but .*name"),
        (
            {"space": "mine.yaml"},
            "- 3",
            "a space must be a mapping of settings, but .* a value of type list",
        ),
        ({"space": {"name": "x", "width": 0.3}}, None, "`width` must be 0.25, 0.5 or 1, but got 0.3"),
        ({"space": {"name": "x", "scales": [3, 5, 7, 9, 11]}}, None, "`scales` must be 2 to 4"),
        ({"space": 3}, None, "a space must be a mapping of settings with a `name`, but got 3"),
        ({"genotypes": ["S" * 12]}, None, "a genotype must be one of MSINet"),
        ({"genotypes": ["wide_operations:SSS"]}, None, "a genotype of the space wide_operations must be 12 letters"),
        (
            {"space": MINE, "genotypes": ["GGGGGGGGGGGG"]},
            None,
            "slot 1 of a genotype of the space mine must be",
        ),
        ({"genotypes": ["mine:GGGGGGGGGGGG"]}, None, "a genotype's space must be one of msinet, .* but got 'mine:"),
        (
            {"space": "half_width", "search": {"scheme": "partial_channels"}},
            None,
            "has 32 channels in its",
        ),
        (
            {"space": "half_width", "search": {"scheme": "one_shot"}},
            None,
            "knows only the costs of the paper",
        ),
        (
            {"space": {"name": "x", "instance_norm": [6]}, "image_size": [16, 16]},
            None,
            "the space x has an instance norm in a cell whose maps have one position",
        ),
    ],
)
def test_a_wrong_space_or_genotype_is_one_sentence(
    tiny: dict[str, Any], tmp_path: Path, changed: dict[str, Any], file: str | None, message: str
) -> None:
    if file:
        (tmp_path / "mine.yaml").write_text(file)
    with pytest.raises(RequestError, match=message) as error:
        load_experiment(write(tmp_path, tiny | changed))
    assert "\n" not in str(error.value)


def test_tuning_is_refused_outside_of_the_papers_space(tiny: dict[str, Any]) -> None:
    tuned = {"source": "street", "space": {"genotype": True}, "trials": 2}
    with pytest.raises(ValueError, match="`tune` needs the paper's space, msinet, but `space` is half_width"):
        Experiment.model_validate(tiny | {"space": "half_width", "tune": tuned})


def test_the_report_shows_genotypes_with_their_spaces(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    planned, workspace = finished
    (search,) = planned.of_kind("search")
    assert search.result is not None
    write_report(content_of(planned, workspace, "msinet run"), tmp_path)
    page, plain = ((tmp_path / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert search.result["genotype"] in plain
    assert "half\\_width:NNNNNNNNNNNN" in plain
    assert "S sum, C concat project, P spatial gate" in plain
    assert "several spaces: half_width, mine" in page
    assert page.count('data-slot="12"') >= 3, "a diagram of each genotype"
    assert f'aria-label="{search.result["genotype"]}:' in page
