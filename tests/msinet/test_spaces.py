"""Search spaces from documents and files, and the genotypes in them."""

import random
from collections import Counter
from pathlib import Path

import pytest

from msinet import spaces
from msinet.genotype import PUBLISHED, Genotype
from msinet.spaces import PAPER_SPACE, SHIPPED, Space, as_space, load
from msinet.spaces.operations import LETTER_OF, OPERATION_OF, PAPER_OPERATIONS

MIXED = Space(
    "mixed", (("none", "sum"), PAPER_OPERATIONS, *[("spatial_gate", "exchange")] * 10), (3, 5, 9), 0.25, (2, 6)
)


def test_letters_are_all_different():
    assert len(OPERATION_OF) == len(LETTER_OF)


def test_the_papers_space_is_the_default():
    assert load("msinet") is PAPER_SPACE == Space() == as_space(None)
    assert PAPER_SPACE.letters == ("NGAE",) * 12
    assert PAPER_SPACE.channels == (64, 256, 384, 512)
    assert PAPER_SPACE.size == 4**12


@pytest.mark.parametrize("space", [*map(load, SHIPPED), MIXED], ids=lambda space: space.name)
def test_documents_and_genotypes_round_trip(space):
    assert Space.from_document(space.to_document()) == space == as_space(space.to_document())
    genotype = Genotype.draw(random.Random(3), space)
    assert Genotype.parse(str(genotype), space) == genotype == Genotype.from_json(genotype.to_json())
    assert Genotype.parse(genotype.letters, space) == genotype
    assert str(genotype).startswith(f"{space.name}:") == (space != PAPER_SPACE)
    if space.name in SHIPPED:
        assert Genotype.parse(str(genotype)) == genotype


def test_a_shipped_space_says_where_it_comes_from():
    for name in SHIPPED[1:]:
        assert load(name).name == name
        text = Path(spaces.__path__[0], f"{name}.yaml").read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert "et al." in text


def test_genotypes_of_different_spaces_are_different():
    letters = PUBLISHED["MSINet"].letters
    assert (
        len({Genotype(letters), Genotype(letters, load("four_branches")), Genotype(letters, Space("like_paper"))}) == 3
    )
    assert Genotype.parse(f"msinet:{letters}") == PUBLISHED["MSINet"]
    assert Genotype.parse("MSINet", MIXED) == PUBLISHED["MSINet"]
    assert Genotype.parse(f"half_width:{letters}", MIXED).space == load("half_width")


def test_draws_are_uniform_over_what_a_slot_offers():
    rng = random.Random(0)
    drawn = [Genotype.draw(rng, MIXED) for _ in range(2000)]
    for slot, choices in enumerate(MIXED.letters):
        counts = Counter(genotype.letters[slot] for genotype in drawn)
        expected = len(drawn) / len(choices)
        assert counts.keys() == set(choices)
        assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())
    assert Genotype.draw(random.Random(7)) == Genotype.draw(random.Random(7))


def test_alphas_derive_only_what_a_slot_offers():
    assert MIXED.columns == ("none", "channel_gate", "cross_attention", "exchange", "sum", "spatial_gate")
    row = [1.0, 5.0, 2.0, 3.0, 1.0, 3.0]  # the first slot has a tie, the third one too
    assert Genotype.from_alphas([row] * 12, MIXED).letters == "NG" + "E" * 10


def test_the_order_of_operations_has_no_meaning():
    given = {"name": "x", "operations": ["exchange", "none"], "width": 1}
    assert Space.from_document(given) == Space("x", (("none", "exchange"),) * 12)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be a mapping of settings with a `name`"),
        ({"width": 0.5}, "must be a mapping of settings with a `name`"),
        ({"name": "a:b"}, "`name` must be at most 50 letters"),
        ({"name": "x", "branches": 3}, "has the settings name, operations, scales, width, .* but got branches"),
        ({"name": "msinet", "width": 0.5}, "only the paper's space may have its `name`"),
        ({"name": "x", "operations": ["gate"]}, "`operations` must be of none, .*, but got 'gate'"),
        ({"name": "x", "operations": []}, "`operations` must be a list"),
        ({"name": "x", "operations": "none"}, "`operations` must be a list"),
        ({"name": "x", "operations": [["none"]] * 11}, "12 such lists"),
        ({"name": "x", "operations": [["none"]] * 11 + [[]]}, "at least one operation"),
        ({"name": "x", "operations": ["none", "none"]}, "only once"),
        ({"name": "x", "scales": [3]}, "`scales` must be 2 to 4 of"),
        ({"name": "x", "scales": [3, 5, 7, 9, 11]}, "`scales` must be 2 to 4 of"),
        ({"name": "x", "scales": [7, 3]}, "in ascending order"),
        ({"name": "x", "scales": 3}, "`scales` must be 2 to 4 of"),
        ({"name": "x", "width": 0.3}, "`width` must be 0.25, 0.5 or 1, but got 0.3"),
        ({"name": "x", "width": True}, "`width` must be"),
        ({"name": "x", "instance_norm": [0]}, "`instance_norm` must be cells from 1 to 6"),
        ({"name": "x", "instance_norm": [2, 2]}, "`instance_norm` must be cells from 1 to 6"),
    ],
)
def test_a_space_that_is_not_possible_is_refused_in_one_sentence(document, message):
    with pytest.raises(ValueError, match=message) as error:
        Space.from_document(document)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixed:NGEE", "a genotype of the space mixed must be 12 letters"),
        ("XGEEEEEEEEEE", "must be 12 letters of N, G, A, E, S, P, but got 'XGEE"),
        ("GGEEEEEEEEEE", "slot 1 of a genotype of the space mixed must be one of N, S, but got 'GGEE"),
        ("other:NGEEEEEEEEEE", "a genotype's space must be one of mixed, msinet, .*but got 'other:"),
    ],
)
def test_a_genotype_that_the_space_lacks_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.parse(text, MIXED)


def test_a_users_file_is_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nwidth: 0.25\n")
    assert load(file) == load(str(file)) == Space("mine", width=0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: four_branches", "`name` must not be that of a space that comes with msinet"),
        ("name: [", "a space must be a YAML file, but it cannot be read"),
        ("name: x\nwidth: 3", "mine.yaml: `width` must be"),
        (None, "a space must be one of msinet, .*or a YAML file, but got"),
    ],
)
def test_a_users_file_that_is_wrong_is_refused(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(file)
