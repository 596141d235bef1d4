"""What a person finds in MLflow: genotypes ranked by target, names, descriptions, datasets, and the chosen model."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.browser import browser, needs_browser
from support.command_line import environment, kill, start
from support.filled import filled, scores
from support.grids import tiny_document
from support.mlflow_server import free_port, wait_for_pages

from pipeline.cli import main
from pipeline.cluster.watcher import DONE, Outcome, Watcher
from pipeline.grid import Grid, run_grid
from pipeline.plan.choice import chosen
from pipeline.plan.stage import HELD_OUT, Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Result
from pipeline.storage.workspace import Workspace
from pipeline.tracking.describe import NOTE_TAG, note_tags, run_name
from pipeline.tracking.genotypes import DRAWING, SUFFIX, rows_of
from pipeline.tracking.links import address, target_links
from pipeline.tracking.parent import REPORT_FOLDER
from pipeline.tracking.registry import ALIAS, chosen_models
from pipeline.tracking.runs import KEY_TAG, SPEC_TAG
from pipeline.tracking.tracker import sync


def report(plan: Plan, workspace: Workspace) -> tuple[str, dict[str, bytes]]:
    """Stand for the report, and count how often it is made."""
    return "**the answer**", {"report.html": b"<p>all of it</p>"}


@pytest.fixture(scope="module")
def shown(finished: tuple[Plan, Workspace], empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of an MLflow that shows the tiny experiment, written twice."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    for _ in range(2):
        sync(uri, *finished, report)
    return uri


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs(uri: str, name: str) -> list[Any]:
    found = client(uri)
    return list(found.search_runs([found.get_experiment_by_name(name).experiment_id]))


def test_a_run_has_a_short_name_its_settings_its_dataset_and_a_description(
    finished: tuple[Plan, Workspace], shown: str
) -> None:
    planned, _ = finished
    by_key = {run.data.tags.get(KEY_TAG): run for run in runs(shown, "tiny")}
    search, retrain = (next(planned.of_kind(kind)) for kind in ("search", "retrain"))
    across = next(stage for stage in planned.of_kind("evaluate") if stage.labels["target"] == "campus")
    names = [by_key[stage.key].info.run_name for stage in (search, retrain, across)]
    assert names == ["search street 60-80 s0", "train 60-80 seed 0 street s0", "60-80 seed 0 street→campus s0"]
    for stage in (search, retrain, across):
        params = by_key[stage.key].data.params
        assert (params["epochs"], params["batch_size"], params["image_size"]) == ("2", "8", "32×16")
        assert float(params["learning_rate"]) > 0
    assert retrain.result is not None
    assert f"**{retrain.result['genotype']}**" in by_key[retrain.key].data.tags[NOTE_TAG]
    assert "| mAP | rank1 |" in by_key[across.key].data.tags[NOTE_TAG]
    campus = planned.stages[across.needs["target_data"]].result
    assert campus is not None
    (dataset,) = by_key[across.key].inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("campus", campus["fingerprint"][:36])
    assert {tag.value for tag in dataset.tags} == {"testing"}


def test_a_training_carries_its_scores_once(finished: tuple[Plan, Workspace], shown: str) -> None:
    planned, _ = finished
    retrain = next(planned.of_kind("retrain"))
    run = next(run for run in runs(shown, "tiny") if run.data.tags.get(KEY_TAG) == retrain.key)
    for stage in planned.of_kind("evaluate"):
        name = f"mAP_{stage.labels['target']}"
        assert run.data.metrics[name] == pytest.approx(stage.result["metrics"]["mAP"])  # type: ignore[index]
        assert len(client(shown).get_metric_history(run.info.run_id, name)) == 1


def test_there_is_one_row_for_each_genotype(finished: tuple[Plan, Workspace], shown: str) -> None:
    (row,) = runs(shown, f"tiny{SUFFIX}")
    (expected,) = rows_of(finished[0])
    assert row.data.metrics.items() >= expected.metrics.items()
    assert row.data.params["genotype"] == expected.network
    assert [file.path for file in client(shown).list_artifacts(row.info.run_id)] == [DRAWING]
    assert "| street | campus | **" in row.data.tags[NOTE_TAG]
    assert row.info.status == "FINISHED"


def test_a_part_of_an_experiment_is_shown_with_the_rest(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has published the scores on the other target. A row of the part alone would lack them."""
    whole, workspace = plan(finished[0].experiment, lookup=finished[1].result), finished[1]
    street, campus = (s for s in whole.of_kind("evaluate") if s.on_target)
    part, published = chosen(whole, only=[street.name]), street.result
    street.result = campus.result = None

    def run_plan(part: Plan, place: Workspace, watchers: list[Watcher]) -> Outcome:
        assert campus.name not in part.stages
        street.result = published
        for watcher in watchers:
            watcher.finished(street)
        return Outcome(dict.fromkeys(part.stages, DONE))

    monkeypatch.setattr("pipeline.cluster.connect.connect", lambda *arguments: None)
    monkeypatch.setattr("pipeline.cluster.driver.run_plan", run_plan)
    monkeypatch.setattr("pipeline.grid._untracked", lambda *arguments: None)
    run_grid(Grid(whole.experiment, workspace, part, whole), tracking_uri=uri)
    (row,) = runs(uri, f"tiny{SUFFIX}")
    assert {"mAP_street", "mAP_campus"} <= row.data.metrics.keys()
    assert {model.name for model in client(uri).search_registered_models()} == {"tiny-street", "tiny-campus"}


def test_a_row_has_mean_and_deviation_of_its_seeds() -> None:
    def result(stage: Stage) -> Result:
        found = scores(0.5, 0.4 + 0.1 * int(stage.labels.get("seed", 0))) if stage.kind == "evaluate" else {}
        return {**found, "key": stage.name}

    planned = filled({**tiny_document(), "splits": [], "genotypes": ["MSINet"], "retrain_seeds": [0, 1, 2]}, result)
    (row,) = rows_of(planned)
    assert row.metrics["mAP_street"] == pytest.approx(0.5)
    assert row.metrics["mAP_street_std"] == pytest.approx(0.1)
    assert row.metrics["seeds_campus"] == 3


@pytest.mark.parametrize(("selection", "best"), [(None, "NNNNNNNNNNNN"), ({"hold_out": 20}, "MSINet")])
def test_held_out_scores_choose_the_model_if_there_are_any(selection: Any, best: str) -> None:
    def result(stage: Stage) -> Result:
        if stage.kind != "evaluate":
            return {}
        held_out = stage.labels["domain"] == HELD_OUT
        return {**scores(0.5, 0.6 if (stage.labels["origin"] == "MSINet") == held_out else 0.5), "key": stage.name}

    more = {"splits": [], "genotypes": ["MSINet", "N" * 12], "targets": ["street"]}
    planned = filled({**tiny_document(), **more, **({"selection": selection} if selection else {})}, result)
    (registered,) = chosen_models(planned)
    assert registered.model.labels["origin"] == best
    assert ("held-out" in registered.reason) == bool(selection)
    assert registered.reason.startswith(f"{best} has the highest mAP "), "what is as usual is not named"


def test_the_chosen_model_has_an_alias_and_its_weights(finished: tuple[Plan, Workspace], shown: str) -> None:
    retrain = next(finished[0].of_kind("retrain"))
    for target in ("street", "campus"):
        version = client(shown).get_model_version_by_alias(f"tiny-{target}", ALIAS)
        assert version.version in (1, "1"), "a second `sync` registers nothing again"
        assert client(shown).get_run(version.run_id).data.tags[KEY_TAG] == retrain.key
        assert [file.path for file in client(shown).list_artifacts(version.run_id, "model")] == [
            "model/weights.safetensors"
        ]


def test_the_parent_holds_the_report(shown: str) -> None:
    parent = next(run for run in runs(shown, "tiny") if SPEC_TAG in run.data.tags)
    assert parent.data.tags[NOTE_TAG] == "**the answer**"
    assert [file.path for file in client(shown).list_artifacts(parent.info.run_id, REPORT_FOLDER)] == [
        f"{REPORT_FOLDER}/report.html"
    ]


def test_every_target_has_a_link(
    shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = client(shown).get_experiment_by_name(f"tiny{SUFFIX}").experiment_id
    links = target_links(shown, "http://127.0.0.1:5000")
    assert [(link.experiment, link.target) for link in links] == [("tiny", "street"), ("tiny", "campus")]
    assert links[0].address == (
        f"http://127.0.0.1:5000/#/experiments/{number}/runs?workflowType=machine_learning&searchFilter=tags.kind%20%3D"
        "%20%27genotype%27&orderByKey=metrics.%60mAP_street%60&orderByAsc=false&compareRunsMode=CHART"
    )
    assert target_links(shown, "http://127.0.0.1:5000", "another") == []
    monkeypatch.setattr(os, "execve", lambda *arguments: None)
    port = free_port()
    main_ends(["ui", "--tracking-uri", shown, "--port", str(port)])
    assert address(f"http://127.0.0.1:{port}", number, "campus") in capsys.readouterr().out


def main_ends(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code


def test_a_description_that_a_person_wrote_stays() -> None:
    ours = note_tags({}, "ours")
    assert ours[NOTE_TAG] == "ours"
    assert note_tags(ours, "newer")[NOTE_TAG] == "newer"
    assert note_tags({**ours, NOTE_TAG: "mine"}, "newer") == {}
    assert note_tags({NOTE_TAG: "mine"}, "newer") == {}


def test_names_say_what_varies() -> None:
    labels: dict[str, Any] = {
        "source": "a",
        "target": "b",
        "origin": "MSINet",
        "seed": 3,
        "alignment": "pos",
        "start": "x",
    }
    stage = Stage("evaluate …", "evaluate", {}, labels=labels)
    assert run_name(stage) == "MSINet a→b pos x s3"
    labels |= {"target": "held-out a", "domain": HELD_OUT, "alignment": "none", "start": "scratch"}
    assert run_name(stage) == "MSINet a held-out s3"
    labels |= {"recipe": "cross_domain"}
    assert run_name(Stage("retrain …", "retrain", {}, labels=labels)).startswith("train MSINet a ")


@needs_browser
def test_two_clicks_show_the_best_genotype_and_its_scores(shown: str, tmp_path: Path) -> None:
    """The link opens a chart (1). The row opens its run with the scores (2), beside the tab with the drawing."""
    port = free_port()
    pages = f"http://127.0.0.1:{port}"
    (row,) = runs(shown, f"tiny{SUFFIX}")
    env = environment(tmp_path, MLFLOW_TRACKING_URI=shown)
    process = start(["ui", "--port", str(port)], tmp_path, env, tmp_path / "out.txt")
    try:
        wait_for_pages(port, process, tmp_path / "out.txt")
        with browser(tmp_path) as page:
            page.open(target_links(shown, pages, "tiny")[0].address, 1400, 1000)
            page.wait_for("document.body.innerText.includes('mAP_street')")
            page.wait_for(f"!!document.querySelector('a[href*=\"{row.info.run_id}\"]')")
            page.evaluate(f"document.querySelector('a[href*=\"{row.info.run_id}\"]').click()")
            page.wait_for("document.body.innerText.includes('deviation over seeds')")
            tabs = page.evaluate("[...document.querySelectorAll('[role=tab]')].map(e => e.innerText)")
            assert "Artifacts" in tabs, "where the drawing is"
    finally:
        kill(process)
    assert json.loads(client(shown).get_experiment(row.info.experiment_id).tags["msinet.targets"]) == [
        "street",
        "campus",
    ]
