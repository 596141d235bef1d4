"""Random numbers that depend only on a seed, a purpose, an epoch and a pass within the epoch."""

import zlib

from numpy.random import PCG64, Generator, SeedSequence


def generator(seed: int, stream: str, epoch: int, cycle: int = 0) -> Generator:
    """Return a new numpy generator; equal arguments give equal numbers, in any process and at any time.

    Args:
        seed: Seed of the search or the retraining, not negative.
        stream: What the numbers are for; different streams are independent of one another.
        epoch: Epoch, counted from 0.
        cycle: Number of the pass over the data within the epoch, counted from 0.

    Raises:
        ValueError: The seed is negative.
    """
    if seed < 0:
        raise ValueError(f"a seed must not be negative, but got {seed}.")
    return Generator(PCG64(SeedSequence([seed, zlib.crc32(stream.encode()), epoch, cycle])))
