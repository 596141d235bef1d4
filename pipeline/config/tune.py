"""The section `tune` of an experiment: what the outer loop searches, how it scores trials, and where its study is."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from msinet.genotype import Genotype
from msinet.recipes import TrainRecipe
from pipeline.config.conversions import converted_values
from pipeline.errors import suggestion

Objective = Literal["mAP", "latency_ms", "parameters"]
SLOTS = tuple(f"slot{number:02}" for number in range(1, 13))
_COMBINATIONS = 4096  # upper bound on the combinations of a space's choices and ends that are checked


class Section(BaseModel):
    """A part of the section. An unknown key is an error, and nothing can change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Axis(Section):
    """The possible values of one setting of the recipe: a range, or choices (in the file: a list).

    Attributes:
        low, high: Ends of a range of real numbers, both included.
        log: Whether the range is sampled on a logarithmic scale.
        choices: The values, if there is no range.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[bool | int | float | str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> "Axis":
        if self.choices is not None:
            if not self.choices or self.low is not None or self.high is not None or self.log:
                raise ValueError("choices must be a list of at least one value, without `low`, `high` or `log`.")
            if len(set(map(str, self.choices))) < len(self.choices):
                raise ValueError(f"every choice must appear only once, but got {list(self.choices)}.")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"a range must be {{low, high}} with low < high, but got {self.low} and {self.high}.")
        elif self.log and self.low <= 0:
            raise ValueError(f"a range with `log: true` must start above 0, but got low={self.low}.")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the choices, or both ends of the range."""
        return self.choices if self.choices is not None else (self.low, self.high)


class Space(Section):
    """What is searched.

    Attributes:
        genotype: Whether the operations in the twelve slots are searched.
        retrain: The settings of the recipe that are searched, by their names in `TrainRecipe`.
    """

    genotype: bool = False
    retrain: dict[str, Axis] = {}

    @field_validator("retrain")
    @classmethod
    def _names_are_the_recipes(cls, axes: dict[str, Axis]) -> dict[str, Axis]:
        kinds = {field.name: field.type for field in fields(TrainRecipe)}
        for name, axis in axes.items():
            if name not in kinds:
                raise ValueError(f"`{name}` is not a setting of a retraining recipe.{suggestion(name, kinds)}")
            if axis.choices is None and kinds[name] is not float:
                raise ValueError(f"`{name}` must be given as a list of choices, but got a range.")
        return axes

    @model_validator(mode="after")
    def _is_not_empty(self) -> "Space":
        if not (self.genotype or self.retrain):
            raise ValueError("a space must hold `genotype: true` or settings in `retrain`, but holds neither.")
        return self


class Asha(Section):
    """Asynchronous successive halving (Li et al., MLSys 2020).

    After 1, f, f², … times `grace_epochs`, a trial stops unless it is among the best 1/f of the trials that have
    reached the same epoch.

    Attributes:
        grace_epochs: Epochs before which no trial stops.
        reduction_factor: The factor f.
    """

    grace_epochs: int = Field(default=10, ge=1)
    reduction_factor: int = Field(default=3, ge=2)

    def rungs(self, epochs: int) -> list[int]:
        """Return the epochs, counted from 1, after which trials of this length are compared."""
        powers = (self.grace_epochs * self.reduction_factor**power for power in itertools.count())
        return list(itertools.takewhile(lambda rung: rung < epochs, powers))


class Tune(Section):
    """The settings of the outer loop.

    Attributes:
        source: The dataset, one of `sources`, whose training identities the trials train on and are scored on.
        hold_out: Percent of these identities, the last ones in their order, that no trial trains on. The mAP of a trial
            is that of their pictures: each is compared with all others, except those of its own identity and camera.
        objectives: `mAP` is maximised; `latency_ms` of one picture on `device`, and `parameters`, are minimised.
        constraints: Upper bounds on `latency_ms` and `parameters`. A genotype above a bound is not trained.
        space: What is searched.
        genotype: The genotype of all trials if the space does not search genotypes, else of the first trial.
        trials: Number of trials that must end. Trials that are stopped early or exceed a bound count too.
        concurrent: Number of trials that run at the same time.
        sampler: `tpe` (tree-structured Parzen estimator), `nsga2` (a genetic algorithm) or `random`.
        seed: Seed of the sampler.
        asha: Early stopping; only if mAP is the only objective.
        storage: Where the study is stored: a journal's path on a file system that the driver reaches, or a database's
            URL; by default a journal in the workspace. Use MSINET_TUNE_STORAGE for a URL with a password.
        device: The device on which latency must be measured, as its maker calls it; by default the one on which the
            study begins.
    """

    source: str
    hold_out: Annotated[int, Field(ge=1, le=99)] = 20
    objectives: list[Objective] = ["mAP"]
    constraints: dict[Literal["latency_ms", "parameters"], Annotated[float, Field(gt=0)]] = {}
    space: Space
    genotype: str | None = None
    trials: int = Field(ge=1)
    concurrent: int = Field(default=1, ge=1)
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    seed: int = Field(default=0, ge=0)
    asha: Asha | None = None
    storage: SecretStr | None = None
    device: str | None = None

    @field_validator("genotype")
    @classmethod
    def _genotype_parses(cls, genotype: str | None) -> str | None:
        return None if genotype is None else Genotype.parse(genotype).letters

    @field_validator("objectives")
    @classmethod
    def _objectives_hold_map(cls, objectives: list[str]) -> list[str]:
        if "mAP" not in objectives or len(set(objectives)) < len(objectives):
            raise ValueError(f"objectives must contain mAP, and each objective only once, but got {objectives}.")
        return objectives

    @model_validator(mode="after")
    def _parts_fit(self) -> "Tune":
        if not self.space.genotype:
            if self.genotype is None:
                raise ValueError("`genotype` must be given if `space.genotype` is not true.")
            if len(self.objectives) > 1 or self.constraints:
                raise ValueError(
                    "`space.genotype` must be true for objectives or constraints on `latency_ms` or `parameters`, "
                    "because recipes do not change these, but it is false."
                )
        if self.asha and len(self.objectives) > 1:
            raise ValueError(f"with `asha` mAP must be the only objective, but got {', '.join(self.objectives)}.")
        if self.asha and "epochs" in self.space.retrain:
            raise ValueError("with `asha` all trials must have the same `epochs`, but the space searches `epochs`.")
        return self

    @property
    def measured(self) -> bool:
        """Return whether latency is an objective or a constraint."""
        return "latency_ms" in (*self.objectives, *self.constraints)

    @property
    def figures(self) -> list[Objective]:
        """Return the objectives and the bounded figures, each once."""
        return list(dict.fromkeys((*self.objectives, *self.constraints)))

    def check(self, sources: Sequence[str], base: TrainRecipe) -> None:
        """Check the section against the rest of the experiment.

        Args:
            sources: The experiment's sources.
            base: The recipe that trials start from.

        Raises:
            ValueError: The source is not one of `sources`, no trial could stop early, or the space has a recipe that is
                not possible.
        """
        if self.source not in sources:
            hint = suggestion(self.source, sources)
            raise ValueError(f"`tune.source` must be one of `sources`, but got {self.source!r}.{hint}")
        if self.asha and not self.asha.rungs(base.epochs):
            raise ValueError(
                f"`tune.asha.grace_epochs` must be less than the recipe's epochs, but got {self.asha.grace_epochs} and "
                f"{base.epochs} (retrain.in_domain.epochs)."
            )
        axes = self.space.retrain
        for values in itertools.islice(itertools.product(*(axis.ends for axis in axes.values())), _COMBINATIONS):
            chosen = dict(zip(axes, values, strict=True))
            try:
                recipe = recipe_of(base, chosen)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                message = f"`tune.space.retrain` must hold only possible recipes, but {chosen} is not one: {reason}"
                raise ValueError(message) from None
            if wrong := [*converted_values(chosen, recipe, ("tune", "space", "retrain"))]:
                raise ValueError(wrong[0])


def recipe_of(base: TrainRecipe, values: Mapping[str, Any]) -> TrainRecipe:
    """Return a recipe with some of its settings replaced.

    Raises:
        ValidationError: The new recipe is not possible.
    """
    return TypeAdapter(TrainRecipe).validate_python({**asdict(base), **values})


def genotype_of(values: Mapping[str, Any]) -> str:
    """Return the letters in the twelve slots as one text."""
    return "".join(str(values[slot]) for slot in SLOTS)


def slots_of(letters: str) -> dict[str, str]:
    """Return the twelve letters by slot."""
    return dict(zip(SLOTS, letters, strict=True))


def absolute_storage(storage: SecretStr | None, place: Any) -> SecretStr | None:
    """Return the storage with a journal's path made absolute by `place`; a URL does not change."""
    if storage is None or "://" in storage.get_secret_value():
        return storage
    return SecretStr(str(place(Path(storage.get_secret_value()))))
