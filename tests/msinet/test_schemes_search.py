"""Every search scheme finds the best architecture of a toy problem, and continues from any step as if never stopped.

A new scheme is tested here without a change, because all tests run over the registry.
"""

import contextlib
import copy
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from support.tiny_data import Tiny
from support.toy import Quality, toy_search

from msinet.data.splits import identity_split
from msinet.engine.certainty import likely_genotypes
from msinet.engine.costs import cost_table
from msinet.engine.evolution import genotype_of
from msinet.engine.search import Search, search_epochs
from msinet.engine.state import load_state, save_state
from msinet.models import Supernet
from msinet.recipes import SearchRecipe
from msinet.schemes import SCHEMES, Scheme

# Settings that make a scheme quick enough for a test.
QUICK: dict[str, dict[str, Any]] = {"one_shot": {"population": 16, "generations": 40, "parents": 6}}
SHORT: dict[str, dict[str, Any]] = {"one_shot": {"population": 3, "generations": 2, "recalibration": 8}}

BEST = "NGAENGAENGAE"
TWINS = "GGAEGAEGAENN", "AGAEGAEGAENN"


def best_genotypes(search: Search, count: int) -> list[str]:
    """Return the genotypes that `derive: {candidates: count}` would retrain."""
    if search.evolution:
        return [genotype_of(path).letters for path in search.evolution.ranked[:count]]
    return [letters for letters, _ in likely_genotypes(search.supernet.alphas.detach().numpy(), count)]


@pytest.mark.parametrize("name", SCHEMES)
def test_the_known_best_architecture_is_found(name):
    search = toy_search(Quality([*BEST]), SCHEMES[name](**QUICK.get(name, {})))
    for _ in search_epochs(search):
        pass
    assert search.derive().letters == BEST


@pytest.mark.parametrize("name", SCHEMES)
def test_the_set_holds_both_of_two_equal_optima(name):
    quality = Quality(["".join(sorted(set(pair))) for pair in zip(*TWINS, strict=True)])
    search = toy_search(quality, SCHEMES[name](**QUICK.get(name, {})))
    for _ in search_epochs(search):
        pass
    assert search.derive().letters in TWINS
    assert {*best_genotypes(search, 2)} == {*TWINS}


class Stop(Exception):
    """An interruption."""


def stop() -> None:
    raise Stop


def plain(report: Any) -> dict[str, Any]:
    return {**asdict(report), "seconds": None}


def assert_same(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.mark.parametrize("name", SCHEMES)
def test_a_search_that_is_interrupted_at_every_step_is_the_same_bit_for_bit(name, tmp_path):
    def fresh() -> Search:
        search = toy_search(Quality([*BEST]), SCHEMES[name](**SHORT.get(name, {})))
        search.recipe = replace(search.recipe, epochs=2)
        search.num_epochs = 2 + search.recipe.scheme.num_generations
        return search

    straight, states, reports, continued = fresh(), [], [], []

    def keep() -> None:
        states.append({**copy.deepcopy(straight.state_dict()), "seconds": 0})

    for report in search_epochs(straight, keep):
        reports.append(plain(report))
        keep()
    for number, expected in enumerate(states):
        search = fresh()
        if number:
            search.load_state_dict(load_state(tmp_path / "state.pt"))
        with contextlib.suppress(Stop):
            continued.append(plain(next(search_epochs(search, stop))))
        save_state(tmp_path / "state.pt", search.state_dict())
        assert_same({**search.state_dict(), "seconds": 0}, expected)
    assert continued == reports
    assert list(search_epochs(search)) == []


def real_search(tiny: Tiny, scheme: Scheme) -> Search:
    torch.manual_seed(0)
    recipe = SearchRecipe(epochs=2, batch_size=8, num_instances=2, warmup_epochs=0, milestones=(), scheme=scheme)
    sides = tiny.batches("train", recipe), tiny.batches("valid", recipe)
    records = identity_split(tiny.records("train"), 67, 33)[1]
    supernet = Supernet(channel_divisor=scheme.channel_divisor)
    return Search(supernet, *sides, recipe, torch.device("cpu"), valid_records=records)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_search_of_the_real_supernet_ends_in_a_genotype(tiny, name):
    scheme = SCHEMES[name](**SHORT.get(name, {}))
    search = real_search(tiny, scheme)
    alphas = search.supernet.alphas.detach().clone()
    told: dict[int, int] = {}
    reports = list(search_epochs(search, lambda: told.update({search.next_epoch: search.num_steps()})))
    steps = {report.epoch: vars(report).get("steps") or report.evaluations for report in reports}
    assert told == {epoch: number for epoch, number in steps.items() if number > 1}
    assert [report.epoch for report in reports] == list(range(search.num_epochs))
    assert all(report.train_loss > 0 for report in reports[:2])
    assert torch.equal(search.supernet.alphas, alphas) != scheme.uses_alphas
    assert [report.valid_loss is None for report in reports[:2]] == [not scheme.trains_alphas(e, 2) for e in (0, 1)]
    assert len(search.derive().letters) == 12
    if search.evolution:
        outcome = search.evolution.outcome()
        assert len(outcome["ranked"]) == 6
        assert outcome["ranked"][0][0] == search.derive().letters == outcome["pareto"][0]["genotype"]
        figures = outcome["pareto"][0]
        cost = cost_table((32, 16))(tuple("NGAE".index(letter) for letter in figures["genotype"]))
        assert (figures["parameters"], figures["gmacs"]) == cost
