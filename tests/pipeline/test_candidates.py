"""The genotypes that are retrained for one search: the most probable ones under its final mixture."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.filled import filled, scores

from msinet.engine.certainty import likely_genotypes
from pipeline.cluster import driver
from pipeline.cluster.watcher import SKIPPED, WAITING
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.reports.tables import build_tables
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

ALPHAS = np.random.default_rng(3).standard_normal((12, 4)).tolist()
LIKELY = [letters for letters, _ in likely_genotypes(ALPHAS, 3)]


def found(kind: str, key: str) -> Result:
    """Return the result of a search that ended with `ALPHAS`, and of the datasets."""
    return {
        "key": key,
        "fingerprint": f"whole {key}",
        "train_fingerprint": f"train {key}",
        "protocol": "fixed",
        "genotype": LIKELY[0],
        "alphas": ALPHAS,
    }


def planned(document: dict[str, Any], **changes: Any) -> Plan:
    return plan(Experiment.model_validate({**document, **changes}), lookup=found)


def test_candidates_are_ordinary_retrainings_in_the_order_of_their_probability(tiny: dict[str, Any]) -> None:
    built = planned(tiny, derive={"candidates": 3}, measure=True)
    retrained = list(built.of_kind("retrain"))
    assert [stage.labels["origin"] for stage in retrained] == [
        "60-80 seed 0",
        "60-80 seed 0 candidate 2",
        "60-80 seed 0 candidate 3",
    ]
    specs = [stage.bind(built.results()) for stage in retrained]
    assert [spec and spec["genotype"] for spec in specs] == LIKELY
    named = planned({**tiny, "splits": []}, genotypes=LIKELY)
    assert [stage.key for stage in named.of_kind("retrain")] == [stage.key for stage in retrained]
    measured = [stage for stage in built.of_kind("measure") if stage.needs]
    assert [stage.candidate for stage in measured] == [1, 2, 3]
    assert len(list(built.of_kind("evaluate"))) == 6, "every candidate is evaluated on both targets"


def test_the_first_candidate_is_the_default_and_has_the_same_name_and_key(tiny: dict[str, Any]) -> None:
    names = {stage.name: stage.key for stage in planned(tiny).stages.values()}
    assert names.items() <= {s.name: s.key for s in planned(tiny, derive={"candidates": 2}).stages.values()}.items()


def test_a_candidate_has_a_row_of_its_own(tiny: dict[str, Any]) -> None:
    def answer(stage: Stage) -> Result:
        part = 0.1 * int(stage.labels.get("candidate", 1))
        return found(stage.kind, stage.name) if stage.kind == "search" else scores(part, part)

    tables = build_tables(filled({**tiny, "derive": {"candidates": 2}}, answer), "msinet run")
    (table,) = [table for table in tables if table.number == 9]
    shown = {row.name: row.cells[0] for row in table.rows if row.name.startswith("60-80")}
    assert {name: cell.measured for name, cell in shown.items()} == {
        "60-80": [pytest.approx(10)],
        "60-80, candidate 2": [pytest.approx(20)],
    }


def test_more_candidates_than_a_search_has_are_lacking(tiny: dict[str, Any]) -> None:
    def few(kind: str, key: str) -> Result:
        return {**found(kind, key), "ranked": [[LIKELY[0], 0.5], [LIKELY[1], 0.4]]}  # two genotypes were evaluated

    built = plan(Experiment.model_validate({**tiny, "derive": {"candidates": 3}}), lookup=few)
    lacking = {stage.labels.get("candidate"): stage.lacks for stage in built.of_kind("retrain")}
    assert lacking[None] is lacking[2] is None
    assert "at most the number of evaluated genotypes, 2, but got 3 (derive.candidates)" in str(lacking[3])


@pytest.mark.parametrize("candidates", [0, 1001, 4**12 + 1, "all"])
def test_a_number_of_candidates_that_cannot_be_is_refused(tiny: dict[str, Any], candidates: Any) -> None:
    with pytest.raises(ValidationError):
        Experiment.model_validate({**tiny, "derive": {"candidates": candidates}})


def test_a_small_space_has_few_candidates(tiny: dict[str, Any]) -> None:
    space = {"name": "small", "operations": [["none", "exchange"], *[["exchange"]] * 11]}
    assert Experiment.model_validate({**tiny, "space": space, "derive": {"candidates": 2}}).space.size == 2
    with pytest.raises(ValidationError, match="at most 2, the number of genotypes of the space small, but got 3"):
        Experiment.model_validate({**tiny, "space": space, "derive": {"candidates": 3}})


def test_candidates_need_a_search(tiny: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"`derive` .* give `splits`"):
        Experiment.model_validate({**tiny, "splits": [], "genotypes": ["MSINet"], "derive": {"candidates": 2}})


def test_the_driver_skips_a_candidate_that_the_search_turns_out_to_lack(
    tiny: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Mailbox", "Pulse"):  # the parts of the driver that ask Ray
        monkeypatch.setattr(driver, name, lambda: None)
    monkeypatch.setattr(driver, "share_of", lambda *settings: {"num_cpus": 1.0, "num_gpus": 0.0})
    monkeypatch.setattr(driver.Queue, "has_room", lambda *settings: False)  # nothing starts
    built = plan(Experiment.model_validate({**tiny, "derive": {"candidates": 3}}))
    running = driver._Driver(built, workspace, [], None)
    names = {stage.labels.get("candidate", 1): stage.name for stage in built.of_kind("retrain")}
    for stage in built.stages.values():
        if stage.kind in ("prepare", "search"):
            running._finish(stage, {**found("", stage.name), "ranked": [[LIKELY[0], 0.5], [LIKELY[1], 0.4]]})
    running._release()
    assert [running.states[names[candidate]] for candidate in (1, 2, 3)] == [WAITING, WAITING, SKIPPED]
    running._release()
    evaluated = [stage.name for stage in built.of_kind("evaluate") if stage.labels.get("candidate") == 3]
    assert evaluated
    assert {running.states[name] for name in evaluated} == {SKIPPED}
