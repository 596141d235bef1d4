"""Keys hold everything that decides a result, and nothing else; they bind late."""

from typing import Any

import pytest

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.results import Result


def run_on_paper(experiment: Experiment, genotype: str = "NNNNNNNNNNNN") -> Plan:
    """A plan whose stages have all been published, as if every search had derived `genotype`."""
    published: dict[str, Result] = {}
    planned = plan(experiment)
    while any(stage.result is None for stage in planned.stages.values()):
        for stage in planned.stages.values():
            if stage.key and stage.result is None:
                extra = {
                    "prepare": {
                        "fingerprint": f"f-{stage.key}",
                        "train_fingerprint": f"t-{stage.key}",
                        "protocol": "fixed",
                    },
                    "search": {"genotype": genotype},
                }
                published[stage.key] = {"kind": stage.kind, "key": stage.key, **extra.get(stage.kind, {})}
        planned.resolve(lambda kind, key: published.get(key))
    return planned


def keys(document: dict[str, Any]) -> dict[str, str | None]:
    return {name: stage.key for name, stage in run_on_paper(Experiment.model_validate(document)).stages.items()}


def test_keys_bind_as_results_come_in(experiment: Experiment) -> None:
    planned = plan(experiment)
    known = {name for name, stage in planned.stages.items() if stage.key}
    assert known == {"prepare street", "prepare campus"}
    assert all(stage.key for stage in run_on_paper(experiment).stages.values())


def test_edges_lead_from_needs(experiment: Experiment) -> None:
    planned = plan(experiment)
    seen: set[str] = set()
    for stage in planned.stages.values():
        assert set(stage.needs.values()) <= seen
        seen.add(stage.name)
    kinds = [stage.kind for stage in planned.stages.values()]
    assert [kinds.count(kind) for kind in ("prepare", "search", "retrain", "evaluate")] == [2, 1, 1, 2]


def test_a_genotype_that_is_found_twice_is_retrained_once(tiny: dict[str, Any]) -> None:
    tiny["splits"], tiny["search_seeds"] = ["60-80", "50-50"], [0, 1]
    planned = run_on_paper(Experiment.model_validate(tiny))
    assert planned.work("search") == 4
    assert planned.work("retrain") == 1
    assert planned.work("evaluate") == 2


def test_a_named_genotype_shares_with_a_search_that_derives_it(tiny: dict[str, Any]) -> None:
    tiny["genotypes"] = ["MSINet"]
    planned = run_on_paper(Experiment.model_validate(tiny), genotype="GGEGAGGNGAEA")
    assert planned.work("retrain") == 1


def test_a_named_genotype_needs_no_search(tiny: dict[str, Any]) -> None:
    tiny["splits"], tiny["genotypes"] = [], ["MSINet", "NNNNNNNNNNNN"]
    planned = plan(Experiment.model_validate(tiny))
    assert not list(planned.of_kind("search"))
    assert planned.work("retrain") == 2


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"threads": 2}, {"search", "retrain", "evaluate"}),
        ({"image_size": [64, 32]}, {"search", "retrain", "evaluate"}),
        ({"search_seeds": [7]}, {"search"}),
        ({"split_seed": 3}, {"search"}),
        ({"retrain_seeds": [7]}, {"retrain", "evaluate"}),
        ({"name": "other", "checkpoint_every": 2, "resources": {"max_concurrent": 1}}, set()),
    ],
)
def test_what_moves_which_keys(tiny: dict[str, Any], change: dict[str, Any], moved: set[str]) -> None:
    before, after = keys(tiny), keys({**tiny, **change})
    found = {name.split()[0] for name, key in after.items() if key not in before.values()}
    assert found == moved


@pytest.mark.parametrize("number", ["lr", "margin", "weight_decay"])
def test_every_number_of_a_recipe_is_in_the_key(tiny: dict[str, Any], number: str) -> None:
    before = keys(tiny)
    tiny["retrain"]["in_domain"][number] = 0.123
    after = keys(tiny)
    assert {n.split()[0] for n in after if after[n] != before[n]} == {"retrain", "evaluate"}


def test_a_dataset_is_its_content_not_its_place(tiny: dict[str, Any]) -> None:
    def keys_at(path: str, fingerprint: str) -> list[str | None]:
        tiny["datasets"]["street"] = {"kind": "market1501", "path": path}
        experiment = Experiment.model_validate(tiny)
        return [stage.key for stage in plan(experiment, {"street": fingerprint}).stages.values()]

    assert keys_at("/a", "f") == keys_at("/b", "f")
    assert keys_at("/a", "f") != keys_at("/a", "g")


def test_without_data_everything_of_it_is_pending(tiny: dict[str, Any]) -> None:
    tiny["datasets"]["street"] = {"kind": "market1501", "path": "/nowhere"}
    planned = plan(Experiment.model_validate(tiny))
    assert planned.stages["prepare street"].key is None
    assert planned.work() == len(planned.stages), "an upper bound"


def test_cross_domain_has_a_retraining_of_its_own(tiny: dict[str, Any]) -> None:
    tiny["retrain"]["cross_domain"] = {"epochs": 1, "batch_size": 8, "num_instances": 2, "milestones": []}
    planned = plan(Experiment.model_validate(tiny))
    recipes = {stage.labels["recipe"]: stage.name for stage in planned.of_kind("retrain")}
    assert set(recipes) == {"in_domain", "cross_domain"}
    for stage in planned.of_kind("evaluate"):
        domain = "in_domain" if stage.labels["target"] == "street" else "cross_domain"
        assert stage.needs["model"] == recipes[domain]


def test_a_recipe_that_no_target_asks_for_is_not_planned(tiny: dict[str, Any]) -> None:
    tiny["retrain"]["cross_domain"], tiny["targets"] = {}, ["campus"]
    planned = plan(Experiment.model_validate(tiny))
    assert [stage.labels["recipe"] for stage in planned.of_kind("retrain")] == ["cross_domain"]
