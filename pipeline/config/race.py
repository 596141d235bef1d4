"""The section `race` of an experiment: which genotypes race, and how much may be spent."""

from typing import Annotated

from pydantic import Field, field_validator

from pipeline.config.parts import Strict


class Race(Strict):
    """The settings of `msinet race`.

    Attributes:
        candidates: The genotypes that race: how many, from the first one of the experiment on (named, then random, then
            searched); or their names, such as `MSINet`, `random 3` or `60-80 seed 0`; by default all.
        budget_stages: Most retrainings of the whole race, those that are done already included.
        error: Probability of a wrong decision in the whole race, by default the usual 5 percent.
        equal_within: Genotypes whose mAP differs by less than so many percentage points count as equal.
        source: The dataset on which they are trained and scored, one of `sources`; by default the first one.
    """

    candidates: Annotated[int, Field(ge=2)] | list[str] | None = None
    budget_stages: int = Field(ge=4)
    error: Annotated[float, Field(gt=0, lt=1)] = 0.05
    equal_within: Annotated[float, Field(ge=0)] = 1.0
    source: str | None = None

    @field_validator("candidates")
    @classmethod
    def _are_several(cls, candidates: int | list[str] | None) -> int | list[str] | None:
        if isinstance(candidates, list) and (len(candidates) < 2 or len(set(candidates)) < len(candidates)):
            raise ValueError(f"a race must have at least two different candidates, but got {', '.join(candidates)}.")
        return candidates
