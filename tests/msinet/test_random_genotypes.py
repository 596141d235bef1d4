"""Random genotypes are uniform, seeded and different, and their parameters are counted without a network."""

from collections import Counter

import pytest

from msinet.genotype import PUBLISHED, Genotype
from msinet.models import build_model, count_parameters
from msinet.parameters import count_of, operation_counts
from msinet.random_genotypes import draw_genotypes
from msinet.spaces import SHIPPED, load


@pytest.mark.parametrize("space", SHIPPED)
def test_parameters_are_those_of_the_network(space: str) -> None:
    for genotype in draw_genotypes(3, seed=1, space=load(space)):
        model = build_model("msinet", num_classes=5, **genotype.options)
        assert count_of(genotype.letters, genotype.space) == count_parameters(model)


def test_draws_are_uniform_different_and_follow_from_the_seed() -> None:
    drawn = draw_genotypes(1000)
    assert len(set(drawn)) == 1000
    assert drawn[:20] == draw_genotypes(20)
    assert drawn[:20] != draw_genotypes(20, seed=1)
    for slot in range(12):
        counts = Counter(genotype.letters[slot] for genotype in drawn)
        assert all(200 <= counts[letter] <= 300 for letter in "NGAE"), "250 ± 14 are expected"


def test_parameters_may_be_bounded() -> None:
    like = PUBLISHED["MSINet"]
    for genotype in draw_genotypes(30, like=like, within=0.0005):
        assert abs(count_of(genotype.letters) / count_of(like.letters) - 1) <= 0.0005
    with pytest.raises(ValueError, match=r"NNNNNNNNNNNN ± 0 % must be drawn, but 100000 draws have found only \d+"):
        draw_genotypes(5000, like=Genotype("NNNNNNNNNNNN"), within=0)


def test_two_percent_is_no_bound_in_the_paper_s_space() -> None:
    """Operations make up 0.7 percent of the parameters, which docs/laboratory.md says."""
    most = sum(max(table.values()) for table in operation_counts(load("msinet")))
    assert 0.006 < most / count_of("N" * 12) < 0.008
