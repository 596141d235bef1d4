"""Random numbers that follow from a seed, a purpose and an epoch, and from nothing else."""

import zlib

from numpy.random import PCG64, Generator, SeedSequence


def generator(seed: int, stream: str, epoch: int, cycle: int = 0) -> Generator:
    """A fresh numpy generator; equal arguments give equal numbers, in any process and at any time.

    Args:
        seed: Of the search or the retraining, not negative.
        stream: What the numbers are for; different streams are independent of one another.
        epoch: Counted from 0.
        cycle: Which pass over the data within the epoch, for a side that cycles.

    Raises:
        ValueError: A negative seed.
    """
    if seed < 0:
        raise ValueError(f"a seed must not be negative, but got {seed}.")
    return Generator(PCG64(SeedSequence([seed, zlib.crc32(stream.encode()), epoch, cycle])))
