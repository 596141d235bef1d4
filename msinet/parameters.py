"""The number of parameters of a genotype's network, counted without building it, so that planning needs no torch."""

from functools import cache
from itertools import pairwise

from msinet.spaces.space import PAPER_SPACE, Space

PART_CHANNELS = 128  # of the part head, at width 1


def count_of(letters: str, space: Space = PAPER_SPACE) -> int:
    """Return the number that `msinet.models.count_parameters` returns for MSINet with a genotype.

    Args:
        letters: The twelve letters.
        space: The space of the genotype.
    """
    return _skeleton(space) + sum(map(dict.__getitem__, operation_counts(space), letters))


@cache
def operation_counts(space: Space) -> list[dict[str, int]]:
    """Return for each slot how many parameters each letter that it offers adds to the skeleton."""
    widths = [channels // 4 for channels in space.channels[1:] for _ in range(4)]  # two cells, with two slots each
    return [
        {letter: _operation(letter, width, len(space.scales)) for letter in letters}
        for letters, width in zip(space.letters, widths, strict=True)
    ]


def _operation(letter: str, channels: int, branches: int) -> int:
    if letter == "G":
        hidden = max(channels // 16, 4)
        return 2 * channels * hidden + hidden + channels
    if letter == "C":
        return _conv_norm(branches * channels, branches * channels)
    return {"A": 1, "P": 2 * 7 * 7 + 1}.get(letter, 0)


@cache
def _skeleton(space: Space) -> int:
    """Return the number of parameters of a network whose interactions have none."""
    stem, _, third, last = channels = space.channels
    cells = [pair for before, after in pairwise(channels) for pair in ((before, after), (after, after))]
    part = int(PART_CHANNELS * space.width)
    heads = sum(dim * dim + 2 * dim for dim in (last, 2 * part)) + third * part + part
    halving = sum(_conv_norm(between, between) for between in channels[1:3])
    counted = (_cell(*pair, space, number in space.instance_norm) for number, pair in enumerate(cells, start=1))
    return _conv_norm(3, stem, 7) + sum(counted) + halving + heads


def _cell(before: int, after: int, space: Space, instance_norm: bool) -> int:
    width, branches = after // 4, len(space.scales)
    blocks = 2 * sum(scale // 2 for scale in space.scales)
    norms = 2 * after * (1 if instance_norm else branches)
    shortcut = _conv_norm(before, after) if before != after else 0
    light = width * width + 9 * width + 2 * width
    return branches * (_conv_norm(before, width) + width * after) + blocks * light + norms + shortcut


def _conv_norm(before: int, after: int, kernel: int = 1) -> int:
    return before * after * kernel * kernel + 2 * after
