"""What stages occupy on the cluster, and how many processes share one stage."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from msinet.recipes import BatchRecipe
from pipeline.config.parts import Strict


class Share(Strict):
    """What one stage occupies.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs, or a fraction of one; `auto` means one GPU if the cluster has any.
    """

    cpus: float = Field(default=1, gt=0)
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float | str) -> float | str:
        if isinstance(gpus, float) and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"`gpus` must be a fraction of one GPU or a whole number of GPUs, but got {gpus}.")
        return gpus


class Resources(Strict):
    """What stages occupy on the cluster. None of these settings changes a result.

    Attributes:
        prepare, search, retrain, evaluate, score, measure, proxy, picture: Share of one stage of that kind.
        max_concurrent: Upper bound on the stages that run at the same time; by default only the cluster limits them.
        lease_seconds: Seconds without a sign of life after which a driver takes over a stage from another driver, at
            most a day.
    """

    prepare: Share = Share(gpus=0)
    search: Share = Share()
    retrain: Share = Share()
    evaluate: Share = Share()
    score: Share = Share()
    measure: Share = Share()
    proxy: Share = Share(gpus=0)
    picture: Share = Share()
    max_concurrent: int | None = Field(default=None, ge=1)
    lease_seconds: float = Field(default=60, gt=0, le=86_400)


class Workers(Strict):
    """How many processes share one stage, each on its own device; part of the key (method.md, "Several ranks").

    Attributes:
        search, retrain: Processes of one stage of that kind. The identities of a batch are divided evenly among them.
        sync_batch_norm: Whether batch norms use the whole batch, as in one process. Otherwise each process uses only
            its part.
    """

    search: int = Field(default=1, ge=1)
    retrain: int = Field(default=1, ge=1)
    sync_batch_norm: bool = True

    def settings(self, kind: str) -> dict[str, Any]:
        """Return the settings that become part of the key of a stage of that kind; none for one process."""
        workers: int = getattr(self, kind)
        return {"workers": workers, "sync_batch_norm": self.sync_batch_norm} if workers > 1 else {}

    def check(self, kind: str, recipes: Iterable[BatchRecipe]) -> None:
        """Check that the processes of one stage of that kind share the identities of a batch evenly.

        Raises:
            ValueError: They do not.
        """
        workers: int = getattr(self, kind)
        for recipe in recipes:
            if recipe.num_ids % workers:
                raise ValueError(
                    f"`workers.{kind}` must divide the number of identities in a batch, {recipe.num_ids} "
                    f"(batch_size / num_instances), but got {workers}."
                )
