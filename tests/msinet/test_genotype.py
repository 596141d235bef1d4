"""Genotypes from letters, alphas and JSON, and the input that they refuse."""

import numpy as np
import pytest
import torch

from msinet.genotype import LETTERS, OPERATIONS, PUBLISHED, Genotype


def one_hot(letters: str) -> list[list[float]]:
    return [[float(letter == column) for column in LETTERS] for letter in letters]


def test_letters_and_operations_name_the_same_slots():
    genotype = Genotype.from_letters("GGEGAGGNGAEA")
    assert genotype.letters == str(genotype) == "GGEGAGGNGAEA"
    assert genotype.operations[2] == "exchange"
    assert genotype.operations[4] == "cross_attention"
    assert [LETTERS[OPERATIONS.index(operation)] for operation in genotype.operations] == list(genotype.letters)


def test_equality_and_hash_are_by_letters():
    assert len({Genotype("N" * 12), Genotype.from_letters("N" * 12), Genotype("E" * 12)}) == 2
    assert Genotype("N" * 12) != Genotype("E" * 12)


@pytest.mark.parametrize("convert", [list, np.array, torch.tensor, lambda a: torch.tensor(a, requires_grad=True)])
def test_alphas_derive_their_largest_entry(convert):
    letters = "GGEAGAGAAAEN"
    assert Genotype.from_alphas(convert(one_hot(letters))).letters == letters


def test_ties_go_to_the_first_operation():
    more = [0.0] * (len(OPERATIONS) - 4)
    first = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, -1.0, 2.0, 2.0]]
    alphas = [[*row, *more] for row in [*first, *[[0.0, 0.0, 0.0, 1.0]] * 9]]
    assert Genotype.from_alphas(alphas).letters == "NGA" + "E" * 9


def test_json_round_trip():
    genotype = PUBLISHED["MSINet-VR"]
    assert Genotype.from_json(genotype.to_json()) == genotype


def test_published_genotypes_are_those_of_table_7():
    assert {name: genotype.letters for name, genotype in PUBLISHED.items()} == {
        "MSINet": "GGEGAGGNGAEA",
        "MSINet-VR": "GGEAGAGAAAEA",
        "MSINet-S": "EAGAAAGAEAEA",
    }


def test_parse_takes_a_published_name_or_letters():
    assert Genotype.parse("MSINet") == PUBLISHED["MSINet"]
    assert Genotype.parse("NGAENGAENGAE").letters == "NGAENGAENGAE"


@pytest.mark.parametrize("text", ["", "NGAE", "XGAENGAENGAE", "ngaengaengae", "MSINet-X"])
def test_parse_refuses_anything_else(text):
    with pytest.raises(ValueError, match=r"MSINet-VR.*12 letters"):
        Genotype.parse(text)


@pytest.mark.parametrize("letters", ["NGAE", "XGAENGAENGAE", None, 12])
def test_wrong_letters_are_refused(letters):
    with pytest.raises(ValueError, match="must be 12 letters of N, G, A, E"):
        Genotype.from_letters(letters)


@pytest.mark.parametrize(
    ("alphas", "match"),
    [
        (one_hot("N" * 11), "got 11 rows"),
        ([row[:3] for row in one_hot("N" * 12)], r"rows of \[3\]"),
        ([[float("nan")] * len(OPERATIONS), *one_hot("N" * 11)], "NaN"),
    ],
)
def test_wrong_alphas_are_refused(alphas, match):
    with pytest.raises(ValueError, match=match):
        Genotype.from_alphas(alphas)


@pytest.mark.parametrize("text", ["{}", "[]", '"GGEGAGGNGAEA"', "nothing"])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match=r"letters|Expecting"):
        Genotype.from_json(text)
