"""Races run rounds of ordinary stages on held-out pictures, go on after a kill, and say what is not decided."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.grids import tiny_document

from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.grid import Grid
from pipeline.plan.stage import content_key
from pipeline.plan.unfold import plan
from pipeline.racing import race_panel, run_race, seeds_of, settings
from pipeline.reports.panels import panel_text
from pipeline.results import Result

# The mAP that each genotype would have without noise.
MEANS = {"N" * 12: 0.50, "G" * 12: 0.47, "A" * 12: 0.30, "E" * 12: 0.20}
HOUR = 3600.0


class Place:
    """A workspace in memory, and a cluster that runs a plan's stages at once. A score has a deviation of 1.5 points."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.rounds: list[list[str]] = []  # the stages that ran in each round

    def result(self, kind: str, key: str) -> Result | None:
        return self.results.get(key)

    def run(self, grid: Grid) -> bool:
        self.rounds.append([])
        for stage in grid.plan.stages.values():
            spec = stage.bind(grid.plan.results())
            assert spec is not None
            stage.key = content_key(stage.kind, spec)
            if stage.key not in self.results:
                self.results[stage.key] = self._made(stage.kind, stage.key, spec)
                self.rounds[-1].append(stage.name)
            stage.result = self.results[stage.key]
        return True

    def _made(self, kind: str, key: str, spec: Any) -> Result:
        common = {"kind": kind, "key": key, "seconds": HOUR if kind == "retrain" else 0.0}
        if kind == "prepare":
            return {**common, "fingerprint": "f", "train_fingerprint": "t", "protocol": "fixed"}
        if kind == "search":
            return {**common, "genotype": "N" * 12}
        if kind == "retrain":
            return {**common, "genotype": spec["genotype"], "seed": spec["seed"]}
        trained = self.results[spec["model"]]
        noise = np.random.default_rng([8, trained["seed"], *trained["genotype"].encode()]).normal(0, 0.015)
        shift = 0.1 * (trained["seed"] % 3)  # what a seed does to all genotypes
        return {**common, "metrics": {"mAP": MEANS[trained["genotype"]] + shift + noise}}


def grid_of(place: Any, **changes: Any) -> Grid:
    race = {"budget_stages": 80, **changes.pop("race", {})}
    document = {**tiny_document(), "splits": [], "genotypes": list(MEANS), "race": race, **changes}
    experiment = Experiment.model_validate(document)
    return Grid(experiment, place, plan(experiment))


def test_a_race_finds_the_best_and_gives_few_seeds_to_the_others() -> None:
    place = Place()
    grid = grid_of(place)
    raced = run_race(grid, settings(grid.experiment), place.run)
    assert raced is not None
    assert raced.standing is not None
    assert raced.standing.decided
    assert raced.standing.left == ["N" * 12]
    assert raced.standing.out["E" * 12] == raced.standing.out["A" * 12] == 2
    trained = [name for names in place.rounds for name in names if name.startswith("retrain")]
    assert len(trained) == raced.trainings < 4 * raced.standing.seeds
    assert raced.hours == pytest.approx(1)
    assert not any("on campus" in name or name == "prepare campus" for names in place.rounds for name in names)
    text = panel_text(race_panel(raced, settings(grid.experiment), "street"))
    assert "NNNNNNNNNNNN is the best, with an error of at most 5 % over the whole race." in text


def test_a_race_that_was_killed_goes_on_with_what_is_done() -> None:
    whole, place = Place(), Place()
    expected = run_race(grid_of(whole), settings(grid_of(whole).experiment), whole.run)

    def killed(grid: Grid) -> bool:
        if place.rounds:
            raise KeyboardInterrupt
        return place.run(grid)

    grid = grid_of(place)
    with pytest.raises(KeyboardInterrupt):
        run_race(grid, settings(grid.experiment), killed)
    assert run_race(grid_of(place), settings(grid.experiment), place.run) == expected
    assert place.rounds == whole.rounds, "nothing has run twice"
    assert run_race(grid_of(place), settings(grid.experiment), lambda grid: False) == expected, "nothing is left to run"


def test_a_spent_budget_leaves_a_group_and_says_what_would_decide_it() -> None:
    place = Place()
    grid = grid_of(place, genotypes=["N" * 12, "G" * 12], race={"budget_stages": 5, "equal_within": 0})
    section = settings(grid.experiment)
    raced = run_race(grid, section, place.run)
    assert raced is not None
    assert raced.trainings == 4
    text = panel_text(race_panel(raced, section, "street"))
    assert "Not decided: which of NNNNNNNNNNNN, GGGGGGGGGGGG is the best. The budget is spent" in text
    assert raced.standing is not None
    assert raced.standing.more_seeds is not None
    more = sum(raced.standing.more_seeds.values())
    assert f"{more} more retrainings decide it, in some {more:.1f} hours" in text


def test_a_genotype_that_is_found_twice_races_once() -> None:
    place = Place()
    grid = grid_of(place, splits=["60-80"], genotypes=["N" * 12, "E" * 12])
    raced = run_race(grid, settings(grid.experiment), place.run)
    assert raced is not None
    assert raced.same == {"60-80 seed 0": "N" * 12}
    assert raced.standing is not None
    assert raced.standing.left == ["N" * 12]


def test_a_failed_round_decides_nothing() -> None:
    grid = grid_of(Place())
    assert run_race(grid, settings(grid.experiment), lambda part: False) is None


def test_seeds_are_those_of_the_experiment_and_then_others() -> None:
    experiment: Any = SimpleNamespace(retrain_seeds=[3, 0])
    assert seeds_of(experiment, 5) == [3, 0, 1, 2, 4]
    assert seeds_of(experiment, 1) == [3]


def test_another_domain_may_score_a_race() -> None:
    datasets = {**tiny_document()["datasets"], "station": tiny_document()["datasets"]["campus"]}
    place = Place()
    grid = grid_of(place, datasets=datasets, selection={"by": "domain", "domain": "station"})
    assert run_race(grid, settings(grid.experiment), place.run) is not None
    assert "prepare station" in place.rounds[0]
    scores = [name for name in place.rounds[0] if name.startswith("evaluate")]
    assert scores
    assert all(name.endswith(" on station") for name in scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"race": {"candidates": 5}}, "5 genotypes must race, but the experiment has only 4"),
        ({"race": {"candidates": ["N" * 12, "X"]}}, "must name genotypes of the experiment, but got 'X'"),
        ({"genotypes": ["N" * 12]}, "at least two candidates, but has 1"),
        ({"race": {"budget_stages": 7}}, "must be at least 8, two for each of 4 candidates, but got 7"),
        ({"race": {"source": "streat"}}, "Did you mean `street`"),
        ({"alignments": ["none", "pos_neg"]}, "must not have several values"),
    ],
)
def test_a_race_that_cannot_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        settings(grid_of(Place(), **changes).experiment)


@pytest.mark.parametrize("candidates", [1, ["MSINet"], ["MSINet", "MSINet"]])
def test_one_candidate_is_no_race(candidates: Any) -> None:
    with pytest.raises(ValueError, match=r"greater than or equal to 2|at least two different candidates"):
        grid_of(Place(), race={"candidates": candidates})


def test_an_experiment_without_the_section_cannot_race() -> None:
    with pytest.raises(RequestError, match="must have a section `race`"):
        settings(Experiment.model_validate(tiny_document()))
