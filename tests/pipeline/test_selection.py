"""A genotype is chosen on pictures that no target holds: which stages that takes, and what may not be asked for."""

from types import SimpleNamespace
from typing import Any

import pytest
from support.grids import tiny_document

from msinet.data.records import Record
from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.preflight import require_held_out
from pipeline.plan.stage import HELD_OUT, Plan
from pipeline.plan.unfold import plan
from pipeline.stages.inputs import divide_held_out

LETTERS = "NNNNNNNNNNNN"


def document(**changes: Any) -> dict[str, Any]:
    return {**tiny_document(), "splits": [], "genotypes": ["MSINet", LETTERS], "networks": ["osnet"], **changes}


def planned(**changes: Any) -> Plan:
    return plan(Experiment.model_validate(document(**changes)))


def test_a_selection_adds_a_training_and_a_score_for_each_genotype_and_seed_and_changes_no_other_stage() -> None:
    plain, chosen = (planned(retrain_seeds=[0, 1], **more) for more in ({}, {"selection": {"hold_out": 30}}))
    added = {name: stage for name, stage in chosen.stages.items() if name not in plain.stages}
    assert {name: stage.settings for name, stage in chosen.stages.items() if name in plain.stages} == {
        name: stage.settings for name, stage in plain.stages.items()
    }
    assert sorted(added) == sorted(
        name
        for origin in ("MSINet", LETTERS)
        for seed in (0, 1)
        for training in [f"street {origin} in_domain seed {seed} without held-out pictures"]
        for name in (f"retrain {training}", f"evaluate {training} on held-out street")
    )
    assert {stage.settings["hold_out"] for stage in added.values()} == {30}
    scores = [stage for stage in added.values() if stage.kind == "evaluate"]
    assert {stage.labels["domain"] for stage in scores} == {HELD_OUT}
    assert {role for stage in scores for role in stage.needs} == {"model", "source_data"}, "no score sees a target"


def test_trials_and_selections_share_their_stages() -> None:
    experiment = Experiment.model_validate(document(selection={}))
    chosen, trial = plan(experiment), plan(experiment, hold_out=20)
    ours = chosen.stages["retrain street MSINet in_domain seed 0 without held-out pictures"]
    theirs = trial.stages["retrain street MSINet in_domain seed 0"]
    assert (ours.settings, ours.needs) == (theirs.settings, theirs.needs)


def test_cameras_are_a_part_of_the_key() -> None:
    (stage,) = (
        s
        for s in planned(genotypes=["MSINet"], selection={"by": "camera"}).of_kind("retrain")
        if "hold_out" in s.settings
    )
    assert stage.settings["hold_out_cameras"] is True


def test_another_domain_scores_the_ordinary_cross_domain_networks() -> None:
    datasets = {**tiny_document()["datasets"], "station": tiny_document()["datasets"]["campus"]}
    built = planned(datasets=datasets, selection={"by": "domain", "domain": "station"}, networks=[])
    assert not any("hold_out" in stage.settings for stage in built.stages.values())
    scores = {name: stage for name, stage in built.stages.items() if stage.labels.get("domain") == HELD_OUT}
    assert set(scores) == {f"evaluate street {origin} in_domain seed 0 on station" for origin in ("MSINet", LETTERS)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selection": {"by": "domain"}}, "`domain` must be given with `by: domain`"),
        ({"selection": {"domain": "campus"}}, "`domain` must be given with `by: domain`"),
        ({"selection": {"by": "domain", "domain": "campus"}}, "neither a source nor a target"),
        ({"selection": {"by": "domain", "domain": "campsu"}}, "Did you mean `campus`"),
        ({"selection": {"by": "domain", "domain": "x", "hold_out": 5}}, "nothing is held out"),
        ({"selection": {}, "genotypes": []}, "must have `splits` or `genotypes`"),
    ],
)
def test_wrong_selections_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Experiment.model_validate(document(**changes))


def test_too_few_held_out_identities_or_cameras_are_refused() -> None:
    records = [Record(f"{pid}_{camid}.jpg", pid, camid, "train") for pid in range(10) for camid in (0, 1)]
    require_held_out("street", records, 20, 8, "selection")
    with pytest.raises(RequestError, match=r"10 percent of 'street' are 1: raise `selection.hold_out`"):
        require_held_out("street", records, 10, 8, "selection")
    with pytest.raises(RequestError, match="a batch needs 9 identities, but 'street' has 8 that are not held out"):
        require_held_out("street", records, 20, 9, "selection")
    with pytest.raises(RequestError, match="at least 3 of them, but there are 2"):
        require_held_out("street", records, 20, 8, "selection", cameras=True)


def test_stages_divide_pictures_as_the_specification_says() -> None:
    records = [Record(f"{pid}_{camid}.jpg", pid, camid, "train") for pid in range(10) for camid in (0, 1, 2)]
    packed: Any = SimpleNamespace(records=records, subset=lambda subset: range(len(records)))
    for spec, counts in [
        ({}, [30, 0]),
        ({"hold_out": 20}, [24, 6]),
        ({"hold_out": 20, "hold_out_cameras": True}, [8, 4]),
    ]:
        context: Any = SimpleNamespace(spec=spec)
        assert [len(side) for side in divide_held_out(context, packed)] == counts
