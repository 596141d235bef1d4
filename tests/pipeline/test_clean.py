"""`clean` shows what no named experiment needs, and deletes only that, and only when it is asked to."""

from pathlib import Path
from typing import Any

import pytest
from support.command_line import write
from support.grids import made

from pipeline.cleaning import ATTEMPT, CACHE, FINISHED, UNFINISHED, delete, leftovers
from pipeline.cli import main
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage import leases
from pipeline.storage.workspace import CHECKPOINT, Workspace, stage_place

VALUES = {"spec": {}, "started": 1.0}


def publish(workspace: Workspace, kind: str, key: str) -> str:
    """Publish a result after an attempt that failed; return the place of that attempt."""
    lost, counts = workspace.begin(kind, key), workspace.begin(kind, key)
    workspace.store.replace(f"{lost.place}/weights.safetensors", b"half")
    (counts.folder / "weights.safetensors").write_bytes(b"whole")
    workspace.publish(counts, VALUES)
    return lost.place


def known(document: dict[str, Any]) -> Plan:
    """Return a plan with keys for all its stages."""
    planned = plan(Experiment.model_validate(document))
    for stage in planned.stages.values():
        stage.key = stage.key or f"key-of-{stage.name.replace(' ', '-')}"
    return planned


def whys(workspace: Workspace, *plans: Plan) -> dict[str, str]:
    return {item.place: item.why for item in leftovers(workspace, plans).found}


def test_what_no_experiment_needs_is_found_and_deleted(tiny: dict[str, Any], either_workspace: Workspace) -> None:
    workspace, mine = either_workspace, known(tiny)
    needed = {(stage.kind, str(stage.key)) for stage in mine.stages.values()}
    lost = [publish(workspace, *stage) for stage in sorted(needed)]
    publish(workspace, "retrain", "other")
    half = workspace.begin("search", "begun")
    workspace.store.replace(f"{half.place}/{CHECKPOINT}", b"state")
    expected = dict.fromkeys(lost, ATTEMPT)
    expected |= {stage_place("retrain", "other"): FINISHED, stage_place("search", "begun"): UNFINISHED}
    if workspace.root:
        workspace.store.replace("cache/pixels.u8", b"decoded")
        expected["cache"] = CACHE
    found = leftovers(workspace, [mine]).found
    assert {item.place: item.why for item in found} == expected
    assert sum(item.size for item in found) > 0
    assert delete(workspace, found) == []
    assert whys(workspace, mine) == {}
    for stage in needed:
        kept = workspace.result(*stage)
        assert kept is not None
        assert (workspace.files(kept) / "weights.safetensors").read_bytes() == b"whole"
    assert workspace.result("retrain", "other") is None
    assert not workspace.root or not (workspace.root / stage_place("search", "begun")).exists()


def test_what_a_driver_works_at_is_kept(tiny: dict[str, Any], workspace: Workspace) -> None:
    mine = known(tiny)
    workspace.begin("search", "theirs")
    publish(workspace, "prepare", "their-data")
    workspace.store.replace("cache/pixels.u8", b"decoded")
    lease = leases.take(workspace.store, f"{stage_place('search', 'theirs')}/leases", "another driver", 60)
    assert lease is not None
    with lease:
        left = leftovers(workspace, [mine])
        assert [item.why for item in left.found] == [ATTEMPT], "the data may be what the driver reads"
        assert any("a driver works at search theirs" in line for line in left.kept)
        assert any("cache is kept" in line for line in left.kept)
    assert {FINISHED, UNFINISHED, CACHE} == set(whys(workspace, mine).values())


def test_a_stage_that_was_leased_in_the_meantime_is_spared(tiny: dict[str, Any], workspace: Workspace) -> None:
    half = workspace.begin("search", "begun")
    workspace.store.replace(f"{half.place}/{CHECKPOINT}", b"state")
    found = leftovers(workspace, [known(tiny)]).found
    lease = leases.take(workspace.store, f"{stage_place('search', 'begun')}/leases", "a driver", 60)
    assert lease is not None
    with lease:
        assert delete(workspace, found) == found
    assert workspace.checkpoints("search", "begun")


@pytest.mark.parametrize("section", ["tune", "race"])
def test_stages_that_a_plan_does_not_list_are_kept(
    tiny: dict[str, Any], workspace: Workspace, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    mine = known({**tiny, "race": {"budget_stages": 4}} if section == "race" else tiny)
    if section == "tune":
        mine = Plan(mine.experiment.model_copy(update={"tune": object()}), mine.stages)
    publish(workspace, "retrain", "other")
    left = leftovers(workspace, [mine])
    assert [item.why for item in left.found] == [ATTEMPT]
    assert any("`tune` or `race`" in line for line in left.kept)


def test_kinds_with_unknown_keys_are_kept(tiny: dict[str, Any], workspace: Workspace) -> None:
    mine = plan(Experiment.model_validate(tiny))  # the data are not prepared, so what follows has no key
    for kind in ("prepare", "search", "retrain", "measure"):
        publish(workspace, kind, "other")
    left = leftovers(workspace, [mine])
    finished = {item.stage[0] for item in left.found if item.why == FINISHED and item.stage}
    assert finished == {"prepare", "measure"}
    assert "evaluate, retrain, search" in left.kept[0]


def test_the_verb_deletes_only_with_yes(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = made(tmp_path / "workspace")
    publish(workspace, "prepare", "other")

    def clean(*more: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["clean", str(write(tmp_path, tiny)), "--workspace", workspace.address, *more])
        assert not ended.value.code
        return capsys.readouterr().out

    told = clean()
    assert "stages/prepare/other" in told
    assert "nothing was. Add --yes" in told
    assert workspace.result("prepare", "other")
    assert "deleted" in clean("--yes")
    assert workspace.result("prepare", "other") is None
    assert "nothing to delete" in clean()
