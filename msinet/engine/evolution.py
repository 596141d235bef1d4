"""The end of a search whose scheme evaluates genotypes with the shared weights, in generations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from msinet.data.held_out import has_matches
from msinet.data.loaders import eval_batches
from msinet.data.packed import ImageStore
from msinet.data.records import Record
from msinet.data.streams import generator
from msinet.engine.evaluate import embed
from msinet.engine.held_out import rank_others
from msinet.engine.shared_weights import BATCH, SharedWeights, reestimate_batch_norms
from msinet.genotype import LETTERS, Genotype
from msinet.models.supernet import Supernet
from msinet.ranks import ALONE, Ranks
from msinet.schemes import Cost, Path, Scheme


@dataclass(frozen=True)
class GenerationReport:
    """The report of one generation.

    Attributes:
        epoch: Counted from 0; the generations follow the epochs of the training.
        mAP: Best mAP of all genotypes so far, on the validation identities, as a fraction.
        mean_mAP: Mean over this generation.
        genotype: The genotype with the best mAP.
        evaluations: Number of genotypes of this generation.
        seconds: Duration of the generation.
    """

    epoch: int
    mAP: float
    mean_mAP: float
    genotype: Genotype
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Judge:
    """Scores genotypes with the weights of a supernet, which is not changed.

    Attributes:
        supernet: The supernet.
        train: Training pictures, from which batch norms take their statistics anew for each genotype.
        valid: Validation pictures.
        records: Their records, in the same order.
        device: Device of the supernet.
        ranks: This process among those that search together. Each scores the genotype, and all take the score of the
            first one, so that they go on with the same genotypes.

    Raises:
        ValueError: No validation picture has a match under another camera, so that nothing can be scored.
    """

    supernet: Supernet
    train: ImageStore
    valid: ImageStore
    records: Sequence[Record]
    device: torch.device
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if not has_matches(self.records):
            raise ValueError(
                "genotypes are scored on the validation identities, so at least one of their pictures must have a "
                "match under another camera, but none has (splits)."
            )

    def score(self, path: Path) -> float:
        """Return the mAP of a genotype on the validation identities, as a fraction."""
        network = SharedWeights(self.supernet, genotype_of(path)).to(self.device)
        reestimate_batch_norms(network, eval_batches(self.train, BATCH, self.device))
        scores, _ = rank_others(self.records, embed(network, self.valid, self.device))
        return self.ranks.gather(torch.tensor([scores["mAP"]], dtype=torch.float64, device=self.device))[0].item()


class Evolution:
    """The genotypes that a search has evaluated, and those that come next.

    Args:
        scheme: A scheme with generations.
        score: Returns the mAP of a genotype.
        cost: Returns what a genotype costs.
        choices: For each slot, the columns of α whose operations it offers.
        seed: Seed of the search.

    Attributes:
        population: The genotypes of the running generation.
        scores: mAP of each evaluated genotype, in the order of evaluation.
    """

    def __init__(
        self,
        scheme: Scheme,
        score: Callable[[Path], float],
        cost: Callable[[Path], Cost],
        choices: Sequence[Sequence[int]],
        seed: int,
    ) -> None:
        self.scheme, self.score, self.cost = scheme, score, cost
        self.choices, self.seed = choices, seed
        self.population: list[Path] = []
        self.scores: dict[Path, float] = {}

    def begin(self, generation: int) -> None:
        """Draw the population of a generation, counted from 0."""
        rng = generator(self.seed, "generation", generation)
        self.population = self.scheme.next_generation(self.scores, self.cost, self.choices, rng)

    def evaluate(self, path: Path) -> float:
        """Score a genotype, unless it has its score."""
        if path not in self.scores:
            self.scores[path] = self.score(path)
        return self.scores[path]

    @property
    def ranked(self) -> list[Path]:
        """Return all evaluated genotypes, the best mAP first; of equal ones the first that was evaluated."""
        return sorted(self.scores, key=lambda path: -self.scores[path])

    def outcome(self) -> dict[str, Any]:
        """Return what a result holds: the Pareto set with its figures, and all genotypes, the best mAP first."""
        front = self.scheme.pareto_set(self.scores, self.cost)
        return {
            "pareto": [
                {
                    "genotype": genotype_of(path).letters,
                    "mAP": self.scores[path],
                    **self.scheme.figures(path, self.cost(path)),
                }
                for path in front
            ],
            "ranked": [[genotype_of(path).letters, self.scores[path]] for path in self.ranked],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the population and the scores."""
        return {
            "population": [list(path) for path in self.population],
            "paths": [list(path) for path in self.scores],
            "scores": list(self.scores.values()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.population = [tuple(path) for path in state["population"]]
        self.scores = dict(zip(map(tuple, state["paths"]), state["scores"], strict=True))


def genotype_of(path: Path) -> Genotype:
    """Return the genotype of a path."""
    return Genotype("".join(LETTERS[column] for column in path))


def spread(store: ImageStore, count: int) -> ImageStore:
    """Return at most `count` pictures of a store, evenly spread over it."""
    return store.subset(np.unique(np.linspace(0, len(store) - 1, min(count, len(store))).round().astype(np.int64)))
