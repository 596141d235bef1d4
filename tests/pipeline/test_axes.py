"""Every axis of an experiment, planned; and one small grid that uses them all, run."""

import math
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file
from support.grids import done, failed, quiet, run_without_ray, task_of, tiny_document

from msinet.engine.measure import device_name
from msinet.models import build_model
from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.plan.estimate import device_hours, longest_paths
from pipeline.plan.kinds import EMBEDDING, PER_QUERY, PICTURES, SPLIT
from pipeline.plan.preflight import require_fitting_weights
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.stages.attempt import execute
from pipeline.storage.workspace import Workspace

PAPER = sorted((Path(__file__).parents[2] / "configs" / "paper").glob("*.yaml"))


def planned(document: dict[str, Any], **changes: Any) -> Plan:
    return plan(Experiment.model_validate({**document, **changes}))


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_each_table_of_the_paper_plans_without_data(path: Path) -> None:
    built = plan(load_experiment(path))
    assert built.stages
    assert all(stage.lacks or stage.kind == "measure" for stage in built.stages.values())
    assert {stage.lacks for stage in built.of_kind("prepare")} == {
        f"needs data: give `datasets.{name}.path` or --data {name}=PATH" for name in built.experiment.used_datasets
    }


@pytest.mark.parametrize(
    ("table", "counts"),
    [
        ("table7", {"search": 3, "retrain": 0, "evaluate": 0}),
        ("table9", {"search": 14, "retrain": 14, "evaluate": 14}),
        ("table10", {"search": 0, "retrain": 4, "evaluate": 4}),
        ("table11", {"search": 0, "retrain": 4, "evaluate": 4}),
        ("osnet_branches", {"search": 0, "retrain": 8, "evaluate": 8}),
    ],
)
def test_how_much_each_table_takes(table: str, counts: dict[str, int]) -> None:
    built = plan(load_experiment(next(path for path in PAPER if path.stem == table)))
    assert {kind: built.work(kind) for kind in counts} == counts


def test_table_8_has_every_row_and_pair() -> None:
    built = plan(load_experiment(next(path for path in PAPER if path.stem == "table8")))
    cells = {
        tuple(stage.labels[name] for name in ("origin", "start", "source", "target"))
        for stage in built.of_kind("evaluate")
    }
    pairs = [("M", "M"), ("MS", "MS"), ("MS", "M"), ("VR", "VR"), ("VR", "VID"), ("VID", "VID")]
    rows = [(o, s) for o in ("resnet50", "MSINet", "MSINet-VR") for s in ("scratch", "pretrained")]
    assert cells == {(*row, *pair) for row in rows for pair in pairs}


def test_data_and_weights_from_the_command_line(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights")
    path = next(path for path in PAPER if path.stem == "table11")
    built = plan(load_experiment(path, [f"M={tmp_path}", f"VR={tmp_path}"], [f"MSINet={weights}"]))
    assert {stage.lacks for stage in built.stages.values()} == {
        None,
        "needs data: give `datasets.VID.path` or --data VID=PATH",
    }
    with pytest.raises(RequestError, match="'X'"):
        load_experiment(path, [f"X={tmp_path}"])
    with pytest.raises(RequestError, match="NAME=PATH"):
        load_experiment(path, ["M"])


def test_the_content_of_weights_is_in_the_key(tmp_path: Path) -> None:
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "starts": ["pretrained"]}

    def settings(content: bytes, name: str) -> dict[str, Any]:
        (tmp_path / name).write_bytes(content)
        built = planned(document, weights={"MSINet": str(tmp_path / name)})
        return next(built.of_kind("retrain")).settings

    assert settings(b"a", "one") == settings(b"a", "two")
    assert settings(b"a", "one") != settings(b"b", "two")


def test_a_part_of_a_recipes_augmentation_leaves_the_rest() -> None:
    document = tiny_document()
    document["search"]["augmentation"] = document["retrain"]["in_domain"]["augmentation"] = {"pad": 4}
    experiment = Experiment.model_validate(document)
    assert experiment.search.augmentation == experiment.retrain.in_domain.augmentation
    assert (experiment.search.augmentation.pad, experiment.search.augmentation.erasing) == (4, 0.5)


def test_one_osnet_has_one_key() -> None:
    def spelt(*scales: int) -> dict[str, Any]:
        return {"name": "osnet", "scales": list(scales)}

    def settings(network: Any) -> list[dict[str, Any]]:
        return [s.settings for s in planned(tiny_document(), networks=[network]).of_kind("retrain")]

    assert settings("osnet") == settings(spelt(9, 7, 5, 3))
    assert settings(spelt(7, 9)) == settings(spelt(9, 7)) != settings("osnet")
    with pytest.raises(ValidationError, match="repeated"):
        planned(tiny_document(), networks=[spelt(7, 9), spelt(9, 7)])


def test_alignments_are_of_genotypes() -> None:
    built = planned(tiny_document(), splits=[], genotypes=["MSINet"], networks=["resnet50"], alignments=["pos", "neg"])
    assert built.work("retrain") == 3


def test_resnet50_has_the_recipe_of_the_strong_baseline() -> None:
    built = planned(tiny_document(), networks=["resnet50", "osnet"])
    recipes = {stage.labels["origin"]: stage.labels["recipe"] for stage in built.of_kind("retrain")}
    assert recipes["resnet50"] == "strong_baseline"
    assert recipes["osnet"] == "in_domain"


@pytest.mark.parametrize(
    "changes",
    [
        {"networks": [{"name": "resnet50", "scales": [3]}]},
        {"networks": ["resnet51"]},
        {"alignments": ["sideways"]},
        {"splits": ["60-80 hardmax"]},
        {"splits": [], "networks": []},
        {"targets": {"campus": ["street"]}},
        {"tables": [6]},
        {"search_seeds": [-1]},
        {"split_seed": -1},
        {"image_size": [8, 4]},
        {"weights": {"MSINett": "w"}},
        {"resources": {"search": {"gpus": -1}}},
        {"resources": {"search": {"gpus": 1.5}}},
        {"splits": {"campus": ["60-80"]}},
    ],
)
def test_what_no_axis_takes(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        planned(tiny_document(), **changes)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """A grid over all axes, run to its end; the generated pictures of one domain."""
    folder = tmp_path_factory.mktemp("everything")
    torch.manual_seed(1)
    torch.save(build_model("msinet", num_classes=3, genotype="MSINet").state_dict(), folder / "start.pth")
    document = tiny_document()
    document |= {
        "targets": ["street"],
        "splits": ["60-80 softmax"],
        "genotypes": ["MSINet"],
        "networks": [{"name": "osnet", "scales": [7, 9]}],
        "alignments": ["none", "pos_neg"],
        "starts": ["scratch", "pretrained"],
        "weights": {"MSINet": str(folder / "start.pth")},
        "rerank": True,
        "after_neck": True,
        "measure": False,
        "figures": True,
    }
    document["search"]["epochs"] = document["retrain"]["in_domain"]["epochs"] = 1
    workspace = Workspace(folder / "workspace")
    return run_without_ray(document, workspace), workspace


def test_all_that_lacks_nothing_is_done(everything: tuple[Plan, Workspace]) -> None:
    built, _ = everything
    for stage in built.stages.values():
        assert (stage.result is None) == bool(stage.lacks)
    lacking = {stage.labels["origin"] for stage in built.of_kind("retrain") if stage.lacks}
    assert lacking == {"60-80 softmax seed 0", "osnet 7+9"}, "no weights were given for these"


def test_each_alignment_and_start_is_another_network(everything: tuple[Plan, Workspace]) -> None:
    built, _ = everything
    keys = {stage.key for stage in built.of_kind("retrain") if stage.labels["origin"] == "MSINet"}
    assert len(keys) == 4


def test_a_split_can_be_audited(everything: tuple[Plan, Workspace]) -> None:
    built, workspace = everything
    search = next(built.of_kind("search"))
    rows = pq.read_table(workspace.files(search.result) / SPLIT).to_pylist()  # type: ignore[arg-type]
    assert {row["side"] for row in rows} == {"train", "valid"}
    assert len({row["path"] for row in rows}) == len(rows), "no picture is on both sides"


def test_a_split_can_be_used_again(everything: tuple[Plan, Workspace], workspace: Workspace) -> None:
    built, first = everything
    search = next(built.of_kind("search"))
    saved = first.files(search.result) / SPLIT  # type: ignore[arg-type]
    document = tiny_document() | {"targets": [], "splits": [{"split": "mine", "supervision": "softmax", "file": saved}]}
    document["search"]["epochs"] = 1
    again = next(run_without_ray(document, workspace).of_kind("search"))
    assert again.result is not None
    assert search.result is not None
    for name in ("genotype", "alphas", "metrics"):
        assert again.result[name] == search.result[name], "the same pictures on both sides, the same search"
    assert again.key != search.key
    assert "of one device" in device_hours(planned(document), {"search": [again.result]})


def test_a_split_file_that_is_missing_is_lacking(tmp_path: Path) -> None:
    built = planned(tiny_document(), splits=[{"split": "mine", "file": str(tmp_path / "none.parquet")}])
    assert "none.parquet" in str(next(built.of_kind("search")).lacks)
    assert device_hours(built, {}) == "no search or retraining is left that could run"
    assert set(longest_paths(built)) == set(built.stages)
    (tmp_path / "none.parquet").write_bytes(b"PAR1")
    for use in (longest_paths, lambda plan: device_hours(plan, {})):
        with pytest.raises(RequestError, match=r"must be a readable Parquet file, but .*none.parquet is not"):
            use(planned(tiny_document(), splits=[{"split": "mine", "file": str(tmp_path / "none.parquet")}]))
    with pytest.raises(ValidationError, match="must not begin with a digit"):
        planned(tiny_document(), splits=[{"split": "60-80", "file": "x.parquet"}])


def test_an_evaluation_keeps_its_embeddings(everything: tuple[Plan, Workspace]) -> None:
    built, workspace = everything
    stage = next(stage for stage in built.of_kind("evaluate") if stage.result)
    embedding_ND = load_file(workspace.files(stage.result) / EMBEDDING)["embedding_ND"]  # type: ignore[arg-type]
    prepared = built.stages[stage.needs["target_data"]].result
    assert prepared is not None
    assert embedding_ND.shape == (prepared["images"]["query"] + prepared["images"]["gallery"], 768)


def test_the_lists_of_vehicleid_are_of_one_domain() -> None:
    lists = {"VID": "vehicleid", "VID800": "vehicleid800", "VID1600": "vehicleid1600"}
    document = tiny_document() | {
        "datasets": {name: {"kind": kind} for name, kind in lists.items()} | {"VR": {"kind": "veri"}},
        "sources": ["VID"],
        "targets": [*lists, "VR"],
        "splits": [],
        "genotypes": ["MSINet"],
    }
    document["retrain"].pop("cross_domain")
    built = planned(document)
    assert [stage.labels["recipe"] for stage in built.of_kind("retrain")] == ["in_domain", "cross_domain"]
    domains = {stage.labels["target"]: stage.labels["domain"] for stage in built.of_kind("evaluate")}
    assert domains == {**dict.fromkeys(lists, "in_domain"), "VR": "cross_domain"}


def test_weights_that_do_not_fit_are_found_before_anything_runs(tmp_path: Path) -> None:
    torch.save(build_model("msinet", num_classes=3, genotype="MSINet-VR").state_dict(), tmp_path / "other.pth")
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "starts": ["pretrained"]}
    with pytest.raises(RequestError, match=r"must fit.*weights\.MSINet: .*other\.pth"):
        require_fitting_weights(planned(document, weights={"MSINet": str(tmp_path / "other.pth")}))


def test_reranked_scores_stand_beside_the_plain_ones(everything: tuple[Plan, Workspace]) -> None:
    built, workspace = everything
    for stage in built.of_kind("evaluate"):
        if stage.result:
            metrics = stage.result["metrics"]
            assert 0 <= metrics["reranked_mAP"] <= 1
            table = pq.read_table(workspace.files(stage.result) / PER_QUERY).to_pydict()
            assert math.isclose(metrics["mAP"], sum(table["average_precision"]) / len(table["path"]), rel_tol=1e-6)


def test_a_measurement_is_of_the_device_it_names(workspace: Workspace) -> None:
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "measure": True, "targets": []}
    built = planned(document)
    assert all(stage.key is None for stage in built.of_kind("measure")), "the device is not known yet"
    built.name_device(device_name(torch.device("cpu")))
    built.resolve(workspace.result)
    for stage in built.of_kind("measure"):
        done(execute(workspace.address, task_of(stage, built), quiet))
    metrics = workspace.all_results("measure")
    assert {result["network"]: result["metrics"]["parameters"] for result in metrics} == {
        "resnet50": 23_512_128,
        "msinet": 2_328_035,
    }
    assert all(result["metrics"]["latency_ms"] > 0 for result in metrics)
    elsewhere = planned(document)
    elsewhere.find_measurements(metrics)
    assert all(stage.result for stage in elsewhere.of_kind("measure")), "a report finds them without the device"

    built.name_device("another device")
    stage = next(built.of_kind("measure"))
    stage.key = "other"
    failure = failed(execute(workspace.address, task_of(stage, built), quiet))
    assert "must run on 'another device'" in failure.message


def test_an_estimate_scales_with_the_work_that_is_left(everything: tuple[Plan, Workspace]) -> None:
    _, workspace = everything
    measured = {kind: workspace.all_results(kind) for kind in ("search", "retrain")}
    document = tiny_document() | {"targets": ["street"], "splits": [], "genotypes": ["MSINet"], "retrain_seeds": [7, 8]}
    document["retrain"]["in_domain"]["epochs"] = 10_000

    def hours(**changes: Any) -> float:
        sentence = device_hours(planned(document, **changes), measured)
        return float(re.search(r"([\d.,]+) hours", sentence)[1].replace(",", ""))  # type: ignore[index]

    assert math.isclose(hours(), 2 * hours(retrain_seeds=[7]), rel_tol=0.1, abs_tol=0.2)
    assert re.search(
        r"hours of one 2 GHz CPU core .* after a retrain in this workspace", device_hours(planned(document), {})
    )


def test_pictures_are_drawn_for_each_pair(everything: tuple[Plan, Workspace]) -> None:
    built, workspace = everything
    drawn = [stage.result for stage in built.of_kind("picture") if stage.result]
    assert len(drawn) == sum(stage.result is not None for stage in built.of_kind("evaluate")) - 1 == 6
    for result in drawn:
        for name in PICTURES:
            with Image.open(workspace.files(result) / name) as picture:
                assert min(picture.size) > 100
