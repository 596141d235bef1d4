"""The section `selection` of an experiment: how genotypes are compared without query and gallery pictures."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.parts import Strict


class Selection(Strict):
    """How one genotype is chosen for each source without looking at the pictures of its targets.

    Attributes:
        by: What the genotypes are compared on.
            `identity`: each genotype is retrained once more without the last identities of the source, and its score is
            that of their pictures, where each is compared with all others except those of its own identity and camera.
            `camera`: like `identity`, but the last two cameras are also left out of the training, and only pictures of
            these cameras and of the held-out identities are compared. This imitates a place with new cameras.
            `domain`: nothing is held out. The ordinary networks are evaluated on another dataset, `domain`.
        hold_out: Percent of the source's training identities that are held out, the last ones in their order.
        domain: The dataset for `by: domain`, an entry of `datasets` that is neither a source nor a target.
    """

    by: Literal["identity", "camera", "domain"] = "identity"
    hold_out: Annotated[int, Field(ge=1, le=99)] = 20
    domain: str | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> "Selection":
        if (self.by == "domain") != (self.domain is not None):
            got = f"`by: {self.by}` and `domain: {self.domain}`"
            raise ValueError(f"`domain` must be given with `by: domain`, and only then, but got {got}.")
        if self.by == "domain" and "hold_out" in self.model_fields_set:
            raise ValueError("`hold_out` must not be given with `by: domain`, because nothing is held out then.")
        return self
