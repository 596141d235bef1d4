"""P×K batches: P identities with K images each.

Legend: N images, G groups of K images, B = P·K images in a batch.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from msinet.data.streams import generator


class IdentityBatches:
    """Epochs of batches of P identities with K images each.

    The images of each identity are shuffled and cut into groups of K; a remainder is dropped. An identity with fewer
    than K images gets one group, which is drawn with replacement. Then P identities at a time are drawn from those
    that have groups left, until fewer than P identities have any.

    Args:
        labels: One label per image.
        num_ids: Number of identities in a batch, P.
        num_instances: Number of images of each identity in a batch, K.
        seed: Seed of the search or the retraining.
        stream: Which side the batches are for; sides with equal seeds draw different numbers.

    Raises:
        ValueError: P or K is below 1, or there are fewer than P identities.
    """

    def __init__(self, labels: ArrayLike, num_ids: int, num_instances: int, seed: int, stream: str = "train") -> None:
        if num_ids < 1 or num_instances < 1:
            raise ValueError(
                "`num_ids` and `num_instances` must be at least 1, but got "
                f"num_ids={num_ids}, num_instances={num_instances}."
            )
        _, self._identity_N, self._counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(self._counts) < num_ids:
            raise ValueError(
                f"a batch needs {num_ids} identities, but there are {len(self._counts)} (batch_size / num_instances)."
            )
        self.num_ids, self.num_instances = num_ids, num_instances
        self.seed, self.stream = seed, stream

    @property
    def batch_size(self) -> int:
        """Return the number of images in a batch, B."""
        return self.num_ids * self.num_instances

    def epoch(self, epoch: int, cycle: int = 0) -> NDArray[np.int64]:
        """Return the indices of the images of every batch, (number of batches)×B.

        The K images of an identity are adjacent. Earlier calls do not influence the result.

        Args:
            epoch: Epoch, counted from 0.
            cycle: Number of the pass over the data within the epoch, counted from 0.
        """
        rng = generator(self.seed, f"{self.stream}/batches", epoch, cycle)
        groups_GK, owners_G = self._groups(rng)
        batches = self._draw_groups(owners_G, rng)
        return groups_GK[batches].reshape(len(batches), self.batch_size)

    def _groups(self, rng: Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return groups of K images and the identity of each, sorted by identity, in random order within each."""
        K, counts = self.num_instances, self._counts
        starts = np.cumsum(counts) - counts
        shuffled_N = np.lexsort((rng.random(len(self._identity_N)), self._identity_N))
        owners_N = self._identity_N[shuffled_N]
        rank_N = np.arange(len(shuffled_N)) - starts[owners_N]
        kept = rank_N < (counts // K * K)[owners_N]

        few = np.flatnonzero(counts < K)
        draws = starts[few, None] + (rng.random((len(few), K)) * counts[few, None]).astype(np.int64)
        groups_GK = np.concatenate([shuffled_N[kept].reshape(-1, K), shuffled_N[draws]])
        owners_G = np.concatenate([owners_N[kept][::K], few])
        order = np.argsort(owners_G, kind="stable")
        return groups_GK[order], owners_G[order]

    def _draw_groups(self, owners_G: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
        """Return the numbers of the groups in each batch, (number of batches)×P."""
        left = np.bincount(owners_G, minlength=len(self._counts))
        upcoming = np.cumsum(left) - left
        available = np.arange(len(left))
        batches = []
        while len(available) >= self.num_ids:
            chosen = rng.choice(available, self.num_ids, replace=False)
            batches.append(upcoming[chosen])
            upcoming[chosen] += 1
            left[chosen] -= 1
            available = available[left[available] > 0]
        return np.stack(batches)
