"""The section `derive` of an experiment: which genotypes of a search are retrained."""

from collections.abc import Sequence

from pydantic import Field

from msinet.schemes import Scheme
from msinet.spaces import Space
from pipeline.config.parts import Strict


class Derive(Strict):
    """Which genotypes of each search are retrained.

    Attributes:
        candidates: How many, from the most probable one under the search's final mixture on. The first one has the
            largest α in every slot.
    """

    candidates: int = Field(default=1, ge=1, le=1000)

    def check(self, space: Space, schemes: Sequence[Scheme]) -> None:
        """Check that every search has as many genotypes to keep.

        Args:
            space: The space of the experiment.
            schemes: The schemes of its searches.

        Raises:
            ValueError: A search has too few genotypes, or there is no search.
        """
        if self != Derive() and not schemes:
            raise ValueError("`derive` says what is kept of searches, but the experiment has none: give `splits`.")
        if self.candidates > space.size:
            raise ValueError(
                f"`derive.candidates` must be at most {space.size}, the number of genotypes of the space "
                f"{space.name}, but got {self.candidates}."
            )
        for scheme in schemes:
            if scheme.max_candidates is not None and self.candidates > scheme.max_candidates:
                raise ValueError(
                    f"`derive.candidates` must be at most the number of genotypes that the scheme {scheme.name} "
                    f"evaluates, {scheme.max_candidates}, but got {self.candidates}."
                )
