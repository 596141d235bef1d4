"""The section `budget` of an experiment: how many hours its stages may take."""

from typing import Annotated

from pydantic import Field

from pipeline.config.parts import Strict


class Budget(Strict):
    """What an experiment may cost. It changes no result and no key.

    Attributes:
        hours: Hours that the stages of the experiment may take together, those that are done already included. An hour
            of a stage that several workers share counts once for each worker. When the hours are spent, no new stage
            starts; stages that run are not stopped.
        price_per_hour: Price of one such hour, in any currency.
    """

    hours: Annotated[float, Field(gt=0)]
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
