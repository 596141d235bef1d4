"""The section `random_genotypes` of an experiment: genotypes that are drawn instead of searched."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from msinet.genotype import Genotype
from msinet.random_genotypes import draw_genotypes
from msinet.spaces import Space
from pipeline.config.parts import Seed, Strict

SEARCHED = "searched"


class RandomGenotypes(Strict):
    """Genotypes that are drawn uniformly from the space, as a baseline for searches. In the file also a number alone.

    Attributes:
        count: How many genotypes are drawn. A smaller number gives the first ones of a larger number.
        seed: Seed of the draws.
        parameters_like: Draw only genotypes with about as many parameters as this one, a published name or letters; or
            `searched`: as the one that a search finds, and then `count` are drawn for each search.
        within: Largest difference of the number of parameters, as a share of it.
    """

    count: int = Field(ge=1, le=10_000)
    seed: Seed = 0
    parameters_like: str | None = None
    within: Annotated[float, Field(ge=0, le=1)] = 0.02

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"count": value} if type(value) is int else value

    @model_validator(mode="after")
    def _parts_fit(self) -> "RandomGenotypes":
        if self.parameters_like is None and "within" in self.model_fields_set:
            raise ValueError("`within` must not be given without `parameters_like`.")
        return self

    def check(self, space: Space, *, searches: bool) -> None:
        """Check that the genotypes can be drawn.

        Args:
            space: The space of the experiment.
            searches: Whether the experiment has any.

        Raises:
            ValueError: They cannot be drawn.
        """
        if self.parameters_like != SEARCHED:
            self.drawn(space)
        elif not searches:
            raise ValueError("`random_genotypes.parameters_like: searched` needs searches: give `splits`.")

    def drawn(self, space: Space, searched: str | None = None) -> tuple[Genotype, ...]:
        """Return the genotypes.

        Args:
            space: The space from which they are drawn.
            searched: The genotype that a search has found, if their parameters are to be like its.

        Raises:
            ValueError: Too few genotypes have about as many parameters, or `parameters_like` is not a genotype.
        """
        like = searched if self.parameters_like == SEARCHED else self.parameters_like
        genotype = None if like is None else Genotype.parse(like, space)
        return draw_genotypes(self.count, self.seed, space, like=genotype, within=self.within)
