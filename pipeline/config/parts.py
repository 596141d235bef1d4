"""The parts of an experiment's file: datasets, recipes, baselines, splits, shares of the cluster."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from msinet.data.readers import READERS, require_kind
from msinet.data.splits import parse_split
from msinet.data.synthetic import SyntheticSpec
from msinet.recipes import PERSON_SIZE, RECIPES, VEHICLE_SIZE, BatchRecipe, Supervision, TrainRecipe

Seed = Annotated[int, Field(ge=0)]
Size = tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]  # the last map is a sixteenth
ALL_SCALES = (3, 5, 7, 9)  # of OSNet


class Strict(BaseModel):
    """A part of the file: an unknown key is an error, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DiskData(Strict):
    """Pictures on a disk that every node sees.

    Attributes:
        kind: The layout, a name of `msinet.data.readers.READERS`.
        path: The dataset's folder, or the manifest's file; relative paths start at the file that names them. Without
            one the experiment can be planned, and `--data NAME=PATH` gives it.
        image_size: (height, width) of this dataset as a source; needed for a manifest, else the layout's own.
    """

    kind: Annotated[str, AfterValidator(require_kind)]
    path: Path | None = None
    image_size: Size | None = None

    @property
    def training_size(self) -> tuple[int, int] | None:
        """(height, width) as a source, unless the experiment says otherwise."""
        return self.image_size or READERS[self.kind].image_size

    @property
    def family(self) -> str | None:
        """What it shares with datasets that differ in their test lists only."""
        return READERS[self.kind].family


class SyntheticData(Strict):
    """Generated pictures: see `msinet.data.synthetic.SyntheticSpec`, whose fields stand beside `kind`."""

    kind: Literal["synthetic"]
    spec: SyntheticSpec

    @model_validator(mode="before")
    @classmethod
    def _gather_spec(cls, value: Any) -> Any:
        if isinstance(value, dict) and "spec" not in value:
            known = {field.name for field in fields(SyntheticSpec)}
            unknown = {k: v for k, v in value.items() if k not in known | {"kind"}}
            return {
                "kind": value.get("kind"),
                "spec": {k: v for k, v in value.items() if k in known},
                **unknown,
            }
        return value

    @property
    def training_size(self) -> tuple[int, int]:
        """(height, width) as a source, unless the experiment says otherwise."""
        return PERSON_SIZE if self.spec.category == "person" else VEHICLE_SIZE

    @property
    def family(self) -> None:
        """Generated datasets share their training pictures with no other."""


def _source_of(value: Any) -> str:
    """Return whether a dataset is generated or lies on a disk."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "synthetic" if kind == "synthetic" else "disk"


Data = Annotated[
    Annotated[DiskData, Tag("disk")] | Annotated[SyntheticData, Tag("synthetic")], Discriminator(_source_of)
]


def based_on(recipe: BatchRecipe) -> BeforeValidator:
    """Overrides on one of the paper's recipes, as the whole recipe."""

    def merge(overrides: Any) -> Any:
        return _merged(asdict(recipe), overrides) if isinstance(overrides, dict) else overrides

    return BeforeValidator(merge)


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    nested = {
        k: _merged(base[k], v) for k, v in overrides.items() if isinstance(v, dict) and isinstance(base.get(k), dict)
    }
    return {**base, **overrides, **nested}


class Retrain(Strict):
    """How genotypes are retrained: the paper's recipes, with what differs.

    Attributes:
        in_domain: For the evaluation on the source itself.
        cross_domain: For the evaluation on other targets, or `same`: one retraining serves both.
        strong_baseline: For ResNet-50, on every target.
    """

    in_domain: Annotated[TrainRecipe, based_on(RECIPES["in_domain"])] = RECIPES["in_domain"]
    cross_domain: Literal["same"] | Annotated[TrainRecipe, based_on(RECIPES["cross_domain"])] = RECIPES["cross_domain"]
    strong_baseline: Annotated[TrainRecipe, based_on(RECIPES["strong_baseline"])] = RECIPES["strong_baseline"]

    @property
    def recipes(self) -> list[Any]:
        """All of them."""
        return [self.in_domain, self.cross_domain, self.strong_baseline]

    def recipe_for(self, network: str, *, in_domain: bool) -> tuple[str, TrainRecipe]:
        """Name and numbers of the recipe whose network is evaluated on the source itself, or elsewhere."""
        if network == "resnet50":
            return "strong_baseline", self.strong_baseline
        if in_domain or self.cross_domain == "same":
            return "in_domain", self.in_domain
        return "cross_domain", self.cross_domain


class Baseline(Strict):
    """A network that no search derives.

    Attributes:
        name: Of `msinet.build_model`.
        scales: OSNet's branches, by their receptive field.
    """

    name: Literal["resnet50", "osnet"]
    scales: tuple[Literal[3, 5, 7, 9], ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _scales_are_osnets(self) -> "Baseline":
        if self.scales is not None and (self.name != "osnet" or not self.scales):
            raise ValueError(f"`scales` must name branches of osnet, but got {self.name} with {list(self.scales)}.")
        return self

    @field_validator("scales")
    @classmethod
    def _one_spelling(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        ordered = tuple(sorted(set(scales or ())))
        return None if scales is None or ordered == ALL_SCALES else ordered

    @property
    def options(self) -> dict[str, Any]:
        """For `build_model`."""
        return {} if self.scales is None else {"scales": list(self.scales)}

    @property
    def label(self) -> str:
        """For people: `resnet50`, `osnet`, `osnet 7+9`."""
        return self.name if self.scales is None else f"{self.name} {'+'.join(map(str, self.scales))}"


class SearchSplit(Strict):
    """One entry of `splits`: `60-80`, or `100-100 softmax` for another supervision than the recipe's.

    Attributes:
        split: `T-V`, or the name of a split that a file states.
        supervision: Where it is not the recipe's.
        file: A `split.parquet` that a search wrote, or another with its columns path, identity and side.
    """

    split: str = Field(min_length=1)
    supervision: Supervision | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        split, _, supervision = value.partition(" ")
        return {"split": split, "supervision": supervision or None}

    @model_validator(mode="after")
    def _split_parses(self) -> "SearchSplit":
        if self.file is None:
            parse_split(self.split)
        elif self.split[0].isdigit():
            raise ValueError(f"a split from a file must have a name, no percentages, but got {self.split!r}.")
        return self

    @property
    def label(self) -> str:
        """As the file has it."""
        return f"{self.split} {self.supervision}" if self.supervision else self.split


class Share(Strict):
    """What one stage occupies: CPU cores, and a part of a GPU (`auto`: one where the cluster has any)."""

    cpus: float = Field(default=1, gt=0)
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float | str) -> float | str:
        if isinstance(gpus, float) and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"`gpus` must be a part of one GPU or a whole number of them, but got {gpus}.")
        return gpus


class Resources(Strict):
    """What stages occupy on the cluster; none of it changes a result.

    Attributes:
        prepare, search, retrain, evaluate, measure, picture: Share of one stage of that kind.
        max_concurrent: Stages at a time, beyond the cluster's own limit.
        lease_seconds: How long a driver waits before it takes over a stage whose worker, of another driver, is silent.
    """

    prepare: Share = Share(gpus=0)
    search: Share = Share()
    retrain: Share = Share()
    evaluate: Share = Share()
    measure: Share = Share()
    picture: Share = Share()
    max_concurrent: int | None = Field(default=None, ge=1)
    lease_seconds: float = Field(default=60, gt=0)


class Workers(Strict):
    """How many processes share one stage, each with a device of its own (method.md, "Several ranks"); part of the key.

    Attributes:
        search, retrain: Processes of one such stage; a batch's identities are divided evenly among them.
        sync_batch_norm: Whether batch norms see the global batch, as one process does; without, each sees its part.
    """

    search: int = Field(default=1, ge=1)
    retrain: int = Field(default=1, ge=1)
    sync_batch_norm: bool = True

    def settings(self, kind: str) -> dict[str, Any]:
        """What a stage of that kind has in its key: nothing for one process."""
        workers: int = getattr(self, kind)
        return {"workers": workers, "sync_batch_norm": self.sync_batch_norm} if workers > 1 else {}
