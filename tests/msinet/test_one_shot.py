"""The one-shot scheme: costs of genotypes, constraints, selection by fronts, and scores with shared weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny_data import Tiny

from msinet.data.loaders import eval_batches
from msinet.data.records import Record
from msinet.data.splits import identity_split
from msinet.data.streams import generator
from msinet.engine.costs import CostTable, cost_table, measure_latencies, slot_shapes
from msinet.engine.evolution import Judge, genotype_of, spread
from msinet.engine.held_out import rank_others
from msinet.engine.measure import measure
from msinet.models import MSINet, Supernet
from msinet.models.layers import global_pool
from msinet.schemes import Cost, Moment
from msinet.schemes.one_shot import SMALLEST, LatencyTable, OneShot, _crowding, _fronts

CPU = torch.device("cpu")
CHOICES = (tuple(range(4)),) * 12
TABLE = LatencyTable(
    device="a device", image_size=(64, 32), batch_size=1, base_ms=10.0, operations_ms=((0.0, 1.0, 2.0, 0.0),) * 12
)


def rng(number: int = 0) -> np.random.Generator:
    return generator(0, "test", number)


@pytest.fixture(scope="module")
def costs() -> CostTable:
    return cost_table((64, 32))


@pytest.mark.parametrize("path", [(0,) * 12, (1, 1, 3, 1, 2, 1, 1, 0, 1, 2, 3, 2)])
def test_the_cost_of_a_genotype_is_the_sum_over_its_slots(costs, path):
    whole = measure(MSINet(genotype_of(path), 0), (64, 32), CPU, batch_size=1)
    assert costs(path).parameters == whole["parameters"]
    assert costs(path).gmacs == pytest.approx(whole["gmacs"], rel=1e-9)


def test_paths_are_drawn_uniformly_and_only_from_what_a_slot_offers():
    choices = ((0, 1, 2, 3),) * 11 + ((1, 3),)
    draws = rng()
    counts = np.zeros((12, 4))
    for _ in range(400):
        rows = OneShot().mixture(torch.zeros(12, 4), Moment(0, 1, draws, choices))
        counts += [[weight is not None for weight in row] for row in rows]
    np.testing.assert_allclose(counts[:11].mean(0) / 400, 0.25, atol=0.03)
    np.testing.assert_allclose(counts[11] / 400, [0, 0.5, 0, 0.5], atol=0.1)


def test_fronts_and_gaps_of_points_that_a_person_can_check():
    points = np.array([[0, 4], [1, 2], [3, 1], [1, 3], [3, 3], [1, 2]])
    assert [front.tolist() for front in _fronts(points)] == [[0, 1, 2, 5], [3], [4]]
    gaps = _crowding(np.array([[0.0, 4], [1, 2], [3, 1], [4, 0]]))
    assert gaps.tolist() == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf]


def test_generations_hold_new_genotypes_that_are_allowed(costs):
    limit = costs((0,) * 12).parameters + 4000
    scheme = OneShot(population=20, parents=4, max_parameters=limit, latency=TABLE, max_latency_ms=16.0)
    scores: dict[tuple[int, ...], float] = {}
    for number in range(3):
        found = scheme.next_generation(scores, costs, CHOICES, rng(number))
        assert found == scheme.next_generation(scores, costs, CHOICES, rng(number)), "it depends on the numbers alone"
        assert len(set(found)) == len(found) == 20
        assert not scores.keys() & set(found)
        assert all(costs(path).parameters <= limit and TABLE.of(path) <= 16 for path in found)
        scores |= {path: path.count(1) / 12 for path in found}
    front = scheme.pareto_set(scores, costs)
    assert [scores[path] for path in front] == sorted((scores[path] for path in front), reverse=True)
    assert scores[front[0]] == max(scores.values())
    assert scheme.figures(front[0], costs(front[0])).keys() == {"parameters", "gmacs", "latency_ms"}
    for path in scores:
        beaten = [
            (scores[other], -costs(other).parameters, -TABLE.of(other)) > (scores[path], -1e9, -1e9)
            and scores[other] >= scores[path]
            and costs(other).parameters <= costs(path).parameters
            and TABLE.of(other) <= TABLE.of(path)
            and (scores[other], costs(other).parameters, TABLE.of(other))
            != (scores[path], costs(path).parameters, TABLE.of(path))
            for other in scores
        ]
        assert any(beaten) == (path not in front)


def test_a_space_that_is_used_up_ends_no_search():
    scheme, few = OneShot(population=4), ((0,),) * 11 + ((0, 1),)
    cost = lambda path: Cost(0, 0)  # noqa: E731
    found = scheme.next_generation({}, cost, few, rng())
    assert sorted(found) == [(0,) * 12, (0,) * 11 + (1,)]
    assert scheme.next_generation(dict.fromkeys(found, 0.5), cost, few, rng(1)) == found[:1]


def test_a_limit_that_few_genotypes_meet_ends_no_search(costs):
    limit = SMALLEST + 10  # only genotypes of none and exchange: one in 4,096
    scheme = OneShot(population=10, parents=4, max_parameters=limit, latency=TABLE, max_latency_ms=10.0)
    found = scheme.next_generation({}, costs, CHOICES, rng())
    assert len(set(found)) == len(found) == 10
    assert all(set(path) <= {0, 3} for path in found)


def test_the_smallest_genotype_is_known(costs):
    cheapest = [min(cost.parameters for cost in row) for row in costs.added_SO]
    assert costs.base.parameters + sum(cheapest) == SMALLEST


def test_limits_that_no_genotype_meets_together(costs):
    table = replace(TABLE, operations_ms=((5.0, 0.0, 0.0, 5.0),) * 12)  # what has no parameters is slow
    scheme = OneShot(max_parameters=SMALLEST, latency=table, max_latency_ms=11.0)
    with pytest.raises(ValueError, match=r"some genotypes must be allowed.*max_parameters 2321600, max_latency_ms 11"):
        scheme.next_generation({}, costs, CHOICES, rng())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 0}, "`population` must be at least 1, but got 0"),
        ({"parents": 1}, "`parents` must be at least 2, but got 1"),
        ({"mutation": 0.0}, "`mutation` must be above 0 and at most 1, but got 0.0"),
        (
            {"max_parameters": 1000},
            "`max_parameters` must be at least that of the smallest genotype, 2321600, but got 1000",
        ),
        ({"max_latency_ms": 5.0}, "`max_latency_ms` needs a `latency` table"),
        ({"max_latency_ms": 5.0, "latency": TABLE}, "at least that of the fastest genotype, 10, but got 5.0"),
    ],
)
def test_what_the_scheme_demands(settings, message):
    with pytest.raises(ValueError, match=message):
        OneShot(**settings)


def test_a_table_is_for_one_size():
    OneShot(latency=TABLE).check_size((64, 32))
    with pytest.raises(ValueError, match="must be measured with pictures of 128×64, as the search sees them"):
        OneShot(latency=TABLE).check_size((128, 64))


def test_a_measured_table_has_a_number_for_each_operation_of_each_slot():
    table = measure_latencies((32, 16), CPU)
    assert table.base_ms > 0
    assert [len(row) for row in table.operations_ms] == [4] * 12
    assert all(none == exchange == 0 < min(gate, attention) for none, gate, attention, exchange in table.operations_ms)
    assert table.of((0,) * 11 + (2,)) == table.base_ms + table.operations_ms[11][2]
    assert slot_shapes((64, 32))[0] == slot_shapes((64, 32))[3] == (1, 64, 16, 8)
    assert slot_shapes((64, 32))[11] == (1, 128, 4, 2)


def test_a_score_is_the_map_of_the_derived_network_with_statistics_of_its_own(tiny: Tiny):
    torch.manual_seed(0)
    supernet, path = Supernet(), (1, 1, 3, 1, 2, 1, 1, 0, 1, 2, 3, 2)
    train, valid = identity_split(tiny.records("train"), 67, 33)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    judge = Judge(supernet, tiny.store(train), tiny.store(valid), valid, CPU)
    score = judge.score(path)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    network = MSINet(genotype_of(path), 0)
    supernet.load_into(network)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the one batch
    with torch.no_grad():
        (images_BCHW,) = eval_batches(tiny.store(train), 64, "cpu")
        network.train().maps(images_BCHW)
        (images_BCHW,) = eval_batches(tiny.store(valid), 64, "cpu")
        features_BD = global_pool(network.eval().maps(images_BCHW)[1])
    assert score == pytest.approx(rank_others(valid, features_BD)[0]["mAP"], abs=1e-6)


def test_pictures_without_matches_cannot_judge(tiny: Tiny):
    lonely = [Record("a.jpg", 1, 1, "train"), Record("b.jpg", 2, 1, "train")]
    with pytest.raises(ValueError, match="at least one of their pictures must have a match"):
        Judge(Supernet(), tiny.store(tiny.records("train")), tiny.store(tiny.records("train")[:2]), lonely, CPU)


def test_pictures_are_spread_over_a_store(tiny: Tiny):
    store = tiny.store(tiny.records("train"))
    assert len(spread(store, 5)) == 5
    assert len(spread(store, 10**6)) == len(store)
    assert torch.equal(spread(store, 2).gather([0, 1]), store.gather([0, len(store) - 1]))
