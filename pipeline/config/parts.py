"""The parts of an experiment's file: datasets, recipes, baselines, splits and shares of the cluster."""

from dataclasses import asdict, fields, replace
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

from msinet.data.readers import READERS
from msinet.data.splits import parse_split
from msinet.data.synthetic import SyntheticSpec
from msinet.recipes import PERSON_SIZE, RECIPES, VEHICLE_SIZE, BatchRecipe, Supervision, TrainRecipe
from pipeline.config.names import require_name
from pipeline.config.search import AnyScheme, SearchSettings
from pipeline.errors import suggestion

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
MIN_SIDE, MAX_SIDE = 16, 4096  # of pictures; the last feature map is 16 times smaller
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
Size = tuple[Side, Side]
Start = Literal["scratch", "pretrained"]
Runtime = Literal["torch", "onnxruntime", "openvino"]  # as in msinet.export.compiled, which imports torch
ALL_SCALES = (3, 5, 7, 9)  # receptive fields of OSNet's branches


class Strict(BaseModel):
    """A part of the file. An unknown key is an error, and nothing can change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _is_kind(kind: str) -> str:
    if kind not in READERS:
        known = [*READERS, "synthetic"]
        raise ValueError(f"a dataset must have a known `kind`, but got {kind!r:.100}.{suggestion(kind, known)}")
    return kind


class DiskData(Strict):
    """A dataset on a disk that every node sees.

    Attributes:
        kind: The layout, a name of `msinet.data.readers.READERS`.
        path: The dataset's folder, or the manifest's file. A relative path starts at the folder of the experiment's
            file. Without a path the experiment can be planned, and `--data NAME=PATH` gives it later.
        image_size: (height, width) of the pictures if this dataset is a source; by default the layout's own. A manifest
            has no default.
    """

    kind: Annotated[str, AfterValidator(_is_kind)]
    path: Path | None = None
    image_size: Size | None = None

    @property
    def training_size(self) -> tuple[int, int] | None:
        """Return (height, width) of a source's pictures, for experiments that do not state a size."""
        return self.image_size or READERS[self.kind].image_size

    @property
    def family(self) -> str | None:
        """Return a name shared by the datasets that differ only in their test lists, or None."""
        return READERS[self.kind].family


class SyntheticData(Strict):
    """A dataset of generated pictures. In the file, the fields of `SyntheticSpec` are on the same level as `kind`."""

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
        """Return (height, width) of a source's pictures, for experiments that do not state a size."""
        return PERSON_SIZE if self.spec.category == "person" else VEHICLE_SIZE

    @property
    def family(self) -> None:
        """Return None: a generated dataset does not share its training pictures with another one."""


def _source_of(value: Any) -> str:
    """Return `synthetic` for a generated dataset, and `disk` for one on a disk."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "synthetic" if kind == "synthetic" else "disk"


Data = Annotated[
    Annotated[DiskData, Tag("disk")] | Annotated[SyntheticData, Tag("synthetic")], Discriminator(_source_of)
]


def based_on(recipe: BatchRecipe) -> BeforeValidator:
    """Return a validator that fills a recipe: settings that the file does not give are those of `recipe`."""

    def merge(overrides: Any) -> Any:
        return _merged(asdict(recipe), overrides) if isinstance(overrides, dict) else overrides

    return BeforeValidator(merge)


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    nested = {
        k: _merged(base[k], v) for k, v in overrides.items() if isinstance(v, dict) and isinstance(base.get(k), dict)
    }
    return {**base, **overrides, **nested}


class Retrain(Strict):
    """The retraining recipes: the paper's, with the settings that the file changes.

    Attributes:
        in_domain: Recipe of the networks that are evaluated on the source itself.
        cross_domain: Recipe of the networks that are evaluated on other targets, or `same` to use the in-domain
            networks there too.
        strong_baseline: Recipe of ResNet-50, for every target.
    """

    in_domain: Annotated[TrainRecipe, based_on(RECIPES["in_domain"])] = RECIPES["in_domain"]
    cross_domain: Literal["same"] | Annotated[TrainRecipe, based_on(RECIPES["cross_domain"])] = RECIPES["cross_domain"]
    strong_baseline: Annotated[TrainRecipe, based_on(RECIPES["strong_baseline"])] = RECIPES["strong_baseline"]

    @property
    def recipes(self) -> list[Any]:
        """Return all three recipes."""
        return [self.in_domain, self.cross_domain, self.strong_baseline]

    def recipe_for(self, network: str, *, in_domain: bool) -> tuple[str, TrainRecipe]:
        """Return the name and the recipe to train a network for in-domain or for cross-domain evaluation."""
        if network == "resnet50":
            return "strong_baseline", self.strong_baseline
        if in_domain or self.cross_domain == "same":
            return "in_domain", self.in_domain
        return "cross_domain", self.cross_domain


class Baseline(Strict):
    """A network that no search derives.

    Attributes:
        name: A name for `msinet.build_model`.
        scales: The branches of OSNet, by their receptive field; None for all.
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
            raise ValueError(f"`scales` must name branches of osnet, but {self.name} got {list(self.scales)}.")
        return self

    @field_validator("scales")
    @classmethod
    def _one_spelling(cls, scales: tuple[int, ...] | None) -> tuple[int, ...] | None:
        ordered = tuple(sorted(set(scales or ())))
        return None if scales is None or ordered == ALL_SCALES else ordered

    @property
    def options(self) -> dict[str, Any]:
        """Return the options for `build_model`."""
        return {} if self.scales is None else {"scales": list(self.scales)}

    @property
    def label(self) -> str:
        """Return the name that people see: `resnet50`, `osnet`, `osnet 7+9`."""
        return self.name if self.scales is None else f"{self.name} {'+'.join(map(str, self.scales))}"


class SearchSplit(Strict):
    """An entry of `splits`: `60-80`, or `100-100 softmax` if the supervision differs from the recipe's.

    Attributes:
        split: `T-V`, or the name of a split that a file states.
        supervision: Supervision of the search; None for the recipe's.
        scheme: Scheme of the search, in the forms of `search.scheme`; None for the recipe's.
        file: A `split.parquet` that a search wrote, or another Parquet file with the columns path, identity and side.
    """

    split: str = Field(min_length=1)
    supervision: Supervision | None = None
    scheme: AnyScheme | None = None
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
            raise ValueError(f"the name of a split from a file must not begin with a digit, but got {self.split!r}.")
        else:
            require_name(self.split)
        return self

    @property
    def label(self) -> str:
        """Return the entry for people: `60-80`, `100-100 softmax`, `60-80 gdas`."""
        return " ".join([self.split, *([self.supervision] if self.supervision else []), *self.labels.values()])

    def recipe(self, recipe: SearchSettings) -> SearchSettings:
        """Return the recipe of the search, given the experiment's."""
        return replace(recipe, supervision=self.supervision or recipe.supervision, scheme=self.scheme or recipe.scheme)

    def origin(self, recipe: SearchSettings) -> str:
        """Return the name of the search without its seed: `60-80`, `100-100 softmax`, `60-80 gdas`."""
        supervision = self.recipe(recipe).supervision
        return " ".join([self.split, *([] if supervision == "tcm" else [supervision]), *self.labels.values()])

    @property
    def labels(self) -> dict[str, str]:
        """Return the label that an entry with a scheme of its own adds to its stages."""
        return {"scheme": self.scheme.name} if self.scheme else {}
