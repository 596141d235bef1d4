"""P×K batches: P identities, K images of each.

Legend: N images, G groups of K images, B = P·K images in a batch.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from msinet.data.streams import generator


class IdentityBatches:
    """Epochs of batches of P identities with K images each.

    Each identity's images are shuffled and cut into groups of K: a remainder is dropped, an identity with fewer
    than K images is drawn with replacement. Then P identities at a time are drawn among those with groups left,
    until fewer than P are left.

    Args:
        labels: One label per image.
        num_ids: P.
        num_instances: K.
        seed: Of the search or the retraining.
        stream: Which side the batches are for; sides with equal seeds draw different numbers.

    Raises:
        ValueError: Fewer than P identities.
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
        """B."""
        return self.num_ids * self.num_instances

    def epoch(self, epoch: int, cycle: int = 0) -> NDArray[np.int64]:
        """Indices of the images of every batch, (number of batches)×B; the K of an identity stand together.

        Args:
            epoch: Counted from 0; with `cycle` it decides the batches, whatever was drawn before.
            cycle: Which pass within the epoch, for a side that cycles.
        """
        rng = generator(self.seed, f"{self.stream}/batches", epoch, cycle)
        groups_GK, owners_G = self._groups(rng)
        batches = self._draw_groups(owners_G, rng)
        return groups_GK[batches].reshape(len(batches), self.batch_size)

    def _groups(self, rng: Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Groups of K images and the identity of each, ordered by identity, in random order within one."""
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
        """(number of batches)×P group numbers."""
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
