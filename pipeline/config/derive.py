"""The section `derive` of an experiment: which genotypes of a search are retrained."""

from pydantic import Field

from pipeline.config.parts import Strict


class Derive(Strict):
    """Which genotypes of each search are retrained.

    Attributes:
        candidates: How many, from the most probable one under the search's final mixture on. The first one has the
            largest α in every slot.
    """

    candidates: int = Field(default=1, ge=1, le=1000)
