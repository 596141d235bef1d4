"""`msinet bench replay`, on simulated tables whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.benches import simulated, written

from msinet.bench import Bench
from msinet.spaces import PAPER_SPACE
from pipeline.bench.replay import Replay, Table, _front_weights, curve, difference, replay, table_of
from pipeline.bench.scheme import Pool, Scheme
from pipeline.bench.schemes import NAMES, scheme_of
from pipeline.cli import main


def table(bench: Bench, by: str = "street") -> Table:
    return table_of(bench.group(by), bench.group("street"), PAPER_SPACE)


def beside_random(found: Table, name: str, budget: int, repeats: int, seed: int = 0) -> tuple[Replay, Replay]:
    scheme = scheme_of(name)
    return tuple(  # type: ignore[return-value]
        replay(found, each, budget, repeats, seed, front=scheme.front) for each in (scheme, scheme_of("random"))
    )


def test_evolution_beats_random_search_if_good_genotypes_are_neighbours() -> None:
    found = table(simulated(genotypes=256, effect=0.03, noise=0.005)[0])
    evolved, drawn = beside_random(found, "evolution", budget=40, repeats=20)
    mean, low, high = curve(found, difference(evolved, drawn), 0)
    assert low[-1] > 0
    assert high[:10].max() == mean[:10].max() == 0  # both begin with the same random genotypes


def test_without_an_effect_no_scheme_is_found_to_be_better() -> None:
    covered = 0
    for seed in range(15):
        found = table(simulated(genotypes=40, seed=seed)[0])
        _, low, high = curve(found, difference(*beside_random(found, "evolution", 20, 8)), 0)
        covered += low[-1] <= 0 <= high[-1]
    assert covered >= 12  # 14.25 are expected; fewer than 12 happen once in 200 times


def test_a_lucky_choice_gains_nothing() -> None:
    """Every genotype is equally good. Seeds that the scheme has seen would flatter its choice."""
    honest, flattered = [], []
    for seed in range(15):
        found = table(simulated(genotypes=40, seed=seed)[0])
        drawn = replay(found, scheme_of("random"), 20, 8, seed, front=False)
        honest.append(drawn.values_RB[:, -1].mean())
        flattered.append((drawn.weights_RBG[:, -1] @ found.mean_G).mean())
    error = np.std(honest) / np.sqrt(len(honest))
    assert abs(np.mean(honest) - 0.5) < 3 * error
    assert np.mean(flattered) > 0.5 + 3 * error


def test_the_seed_that_is_put_aside_is_never_seen() -> None:
    found = table(simulated(genotypes=4, seeds=3)[0])
    seen: list[list[tuple[int, float]]] = []

    class Spy(Scheme):
        def __init__(self, pool: Pool, budget: int, rng: np.random.Generator) -> None:
            super().__init__(pool, budget, rng)
            seen.append([])

        def ask(self) -> int:
            return self.pool.draw(self.rng)

        def tell(self, genotype: int, score: float) -> None:
            super().tell(genotype, score)
            seen[-1].append((genotype, score))

    drawn = replay(found, Spy, 8, 5, 0, front=False)
    for aside_G, trainings in zip(drawn.aside_RG, seen, strict=True):
        expected = {
            (genotype, found.criterion_GN[genotype, column])
            for genotype in range(4)
            for column in range(3)
            if column != aside_G[genotype]
        }
        assert set(trainings) == expected
        assert {genotype for genotype, _ in trainings[:4]} == {0, 1, 2, 3}  # all are trained once at first


def test_a_scheme_that_has_decided_keeps_its_choice() -> None:
    class Once(Scheme):
        def ask(self) -> int | None:
            return None if self.scores else 2

    found = table(simulated(genotypes=4)[0])
    drawn = replay(found, Once, 3, 2, 0, front=False)
    assert (drawn.weights_RBG[..., 2] == 1).all()
    assert drawn.weights_RBG.sum() == 6


def test_another_target_may_guide_the_scheme() -> None:
    """Luck on street is not luck on campus, so the scheme must have seen campus."""
    bench, _ = simulated(genotypes=6, seeds=2, noise=0.05)
    found = table(bench, by="campus")
    drawn = replay(found, scheme_of("random"), 6, 4, 0, front=False)
    for weights_G, aside_G in zip(drawn.weights_RBG[:, -1], drawn.aside_RG, strict=True):
        visible = found.criterion_GN[np.arange(6), 1 - aside_G]
        assert weights_G.argmax() == visible.argmax()


def test_a_front_is_valued_by_its_choice_under_each_limit_on_the_parameters() -> None:
    scores = np.full((5, 2), 0.5)
    found = Table(PAPER_SPACE, ["A" * 12] * 5, scores, scores, np.array([10, 20, 30, 40, 50]), 1.0)
    player = Scheme(
        Pool(PAPER_SPACE, found.genotypes, found.parameters_G.tolist(), [1] * 5), 3, np.random.default_rng(0)
    )
    player.scores = {1: [0.4], 2: [0.3], 3: [0.6]}
    # No choice up to 10, genotype 1 up to 20 and 30 (2 is larger and worse), genotype 3 up to 40 and 50.
    np.testing.assert_allclose(_front_weights(found, player), [0, 0.4, 0, 0.4, 0])


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_chooses_the_best_that_it_has_trained(name: str) -> None:
    """There is no noise, and all schemes but a race may train nearly the whole table."""
    found = table(simulated(genotypes=16, seeds=3, effect=0.03, noise=1e-6)[0])
    near_best = np.sort(found.mean_G)[-3] - 1e-4  # several genotypes are equally good
    players: list[Scheme] = []

    def kept(*arguments: Any) -> Scheme:
        players.append(scheme_of(name)(*arguments))
        return players[-1]

    drawn, again = (replay(found, kept, 14, 2, 3, front=False) for _ in range(2))
    assert np.array_equal(drawn.weights_RBG, again.weights_RBG)
    for player, chosen in zip(players, drawn.weights_RBG[:, -1].argmax(1), strict=False):
        assert found.mean_G[chosen] > found.mean_G[list(player.scores)].max() - 1e-4
        assert found.mean_G[chosen] > near_best or name == "racing"


def test_a_race_gives_later_seeds_to_genotypes_that_may_still_be_the_best() -> None:
    found = table(simulated(genotypes=12, seeds=8, effect=0.03, noise=0.004)[0])
    players: list[Scheme] = []

    def kept(*arguments: Any) -> Scheme:
        players.append(scheme_of("racing")(*arguments))
        return players[-1]

    drawn = replay(found, kept, 30, 3, 0, front=False)
    for player, chosen in zip(players, drawn.weights_RBG[:, -1].argmax(1), strict=True):
        counts = {genotype: len(scores) for genotype, scores in player.scores.items()}
        out = [genotype for genotype, count in counts.items() if count == 2]
        assert len(counts) == 10  # a third of the budget
        assert min(counts.values()) == 2
        assert 20 < sum(counts.values()) <= 30  # fewer than 30 if the race is decided
        assert len(out) >= 5
        assert found.mean_G[out].max() < found.mean_G[chosen]


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "replay", *arguments])
    return int(ended.value.code or 0)


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(simulated(genotypes=30)[0], tmp_path / "bench.parquet")
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        arguments = ["--scheme", "evolution", "--repeats", "5", "--by", "campus", "--plot", str(picture)]
        assert run([str(path), *arguments]) == 0
    first, second = capsys.readouterr().out.split(str(pictures[0]))
    assert first.strip() in second  # the same seed gives the same text
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    for part in ("choices by street → campus", "regret", "After 15 trainings evolution", "warning: schemes cannot be"):
        assert part in first
    assert run([str(path), "--scheme", "nsga2", "--repeats", "2", "--budget", "3"]) == 0
    assert "under all limits on the parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scheme", "evolutoin"], "Did you mean `evolution`?"),
        (["--scheme", "random", "--budget", "7"], "`--budget` must be from 1 to 6"),
        (["--scheme", "random", "--budget", "0"], "`--budget` must be from 1 to 6"),
        (["--scheme", "random", "--repeats", "1"], "`--repeats` must be at least 2"),
        (["--scheme", "random", "--seed", "-1"], "`--seed` must be at least 0"),
        (["--scheme", "random", "--target", "moon"], "must have scores with target moon"),
        (["--scheme", "random", "--by", "moon"], "must have scores with target moon"),
        (["--scheme", "random", "--plot", "a.jpg"], "must have a name that ends in .svg or .png"),
    ],
)
def test_wrong_requests_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    path = written(simulated(genotypes=6)[0], tmp_path / "bench.parquet")
    assert run([str(path), *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_a_table_with_one_seed_cannot_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(simulated(genotypes=6, seeds=1)[0], tmp_path / "bench.parquet")
    assert run([str(path), "--scheme", "random"]) == 2
    assert "at least two genotypes with 2 retraining seeds each" in capsys.readouterr().err
    assert run([str(written(simulated(genotypes=6)[0], path)), "--scheme", "racing"]) == 2
    assert "at least two genotypes with 3 retraining seeds each" in capsys.readouterr().err
    (tmp_path / "no.parquet").write_text("x")
    assert run([str(tmp_path / "no.parquet"), "--scheme", "random"]) == 2
    assert "must be a Parquet file" in capsys.readouterr().err
