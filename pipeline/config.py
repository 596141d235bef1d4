"""An experiment as a YAML file: read safely, checked strictly.

Every number of the method stands in `msinet.engine.recipes`; a file names only what differs from the paper.
"""

import difflib
from collections.abc import Iterable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from msinet.data.splits import parse_split
from msinet.data.synthetic import SyntheticSpec
from msinet.engine.recipes import RECIPES, SearchRecipe, TrainRecipe
from msinet.genotype import Genotype
from pipeline.errors import RequestError

# (height, width) in pixels, method.md section 1.
PERSON, VEHICLE = (256, 128), (256, 256)


class Strict(BaseModel):
    """A part of the file: an unknown key is an error, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DiskData(Strict):
    """Pictures on a disk that every node sees.

    Attributes:
        kind: The layout, a name of `msinet.data.readers.READERS`.
        path: The dataset's folder, or the manifest's file; relative paths start at the file that names them.
        image_size: (height, width) of this dataset as a source; needed for a manifest, else the layout's own.
    """

    kind: Literal["market1501", "manifest"]
    path: Path
    image_size: tuple[int, int] | None = None

    @property
    def training_size(self) -> tuple[int, int] | None:
        """(height, width) as a source, unless the experiment says otherwise."""
        return self.image_size or (None if self.kind == "manifest" else PERSON)


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
        return PERSON if self.spec.category == "person" else VEHICLE


Data = Annotated[DiskData | SyntheticData, Field(discriminator="kind")]


def _recipe(name: str) -> BeforeValidator:
    """Overrides on one of the paper's recipes, as the whole recipe."""

    def merge(overrides: Any) -> Any:
        return _merged(asdict(RECIPES[name]), overrides) if isinstance(overrides, dict) else overrides

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
    """

    in_domain: Annotated[TrainRecipe, _recipe("in_domain")] = RECIPES["in_domain"]
    cross_domain: Literal["same"] | Annotated[TrainRecipe, _recipe("cross_domain")] = RECIPES["cross_domain"]

    def recipe_for(self, source: str, target: str) -> tuple[str, TrainRecipe]:
        """Name and numbers of the recipe whose network is evaluated on `target`."""
        if source == target or self.cross_domain == "same":
            return "in_domain", self.in_domain
        return "cross_domain", self.cross_domain


class Share(Strict):
    """What one stage occupies: CPU cores, and a part of a GPU (`auto`: one where the cluster has any)."""

    cpus: float = Field(default=1, gt=0)
    gpus: float | Literal["auto"] = "auto"


class Resources(Strict):
    """What stages occupy on the cluster; none of it changes a result.

    Attributes:
        prepare, search, retrain, evaluate: Share of one stage of that kind.
        max_concurrent: Stages at a time, beyond the cluster's own limit.
    """

    prepare: Share = Share(gpus=0)
    search: Share = Share()
    retrain: Share = Share()
    evaluate: Share = Share()
    max_concurrent: int | None = Field(default=None, ge=1)


class Experiment(Strict):
    """One experiment: a grid of sources, splits, seeds and targets.

    Attributes:
        name: Of the grid, and of the MLflow experiment.
        datasets: By the names that `sources` and `targets` use.
        sources: Trained on.
        targets: Evaluated on.
        image_size: (height, width) of every source; by default each dataset's own.
        splits: Train/valid identity splits `T-V` of the searches; empty for none.
        split_seed: Shuffles the identities before they are split.
        genotypes: Retrained without a search: published names or 12 letters.
        search_seeds: One search for each; they decide weights, α's start, batches and augmentation.
        retrain_seeds: One retraining for each.
        search: The search recipe.
        retrain: The retraining recipes.
        threads: CPU threads of a stage, part of its key: other numbers of threads round differently.
        checkpoint_every: Epochs between saved states.
        resources: What stages occupy.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    datasets: dict[str, Data]
    sources: list[str] = Field(min_length=1)
    targets: list[str] = Field(min_length=1)
    image_size: tuple[int, int] | None = None
    splits: list[str] = []
    split_seed: int | None = None
    genotypes: list[str] = []
    search_seeds: list[int] = Field(default=[0], min_length=1)
    retrain_seeds: list[int] = Field(default=[0], min_length=1)
    search: SearchRecipe = SearchRecipe()
    retrain: Retrain = Retrain()
    threads: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=1, ge=1)
    resources: Resources = Resources()

    @field_validator("splits")
    @classmethod
    def _splits_parse(cls, splits: list[str]) -> list[str]:
        for split in splits:
            parse_split(split)
        return splits

    @field_validator("genotypes")
    @classmethod
    def _genotypes_parse(cls, genotypes: list[str]) -> list[str]:
        for genotype in genotypes:
            Genotype.parse(genotype)
        return genotypes

    @field_validator("sources", "targets", "splits", "genotypes", "search_seeds", "retrain_seeds")
    @classmethod
    def _no_repeats(cls, values: list[Any]) -> list[Any]:
        repeated = sorted({str(value) for value in values if values.count(value) > 1})
        if repeated:
            raise ValueError(f"every entry must be there once, but {', '.join(repeated)} is repeated.")
        return values

    @model_validator(mode="after")
    def _names_are_known(self) -> "Experiment":
        for role in ("sources", "targets"):
            for name in getattr(self, role):
                if name not in self.datasets:
                    hint = _suggestion(name, self.datasets)
                    raise ValueError(f"`{role}` must name entries of `datasets`, but got {name!r}.{hint}")
        if not self.splits and not self.genotypes:
            raise ValueError("an experiment must search (`splits`) or name `genotypes` to retrain, but has neither.")
        for name in self.sources:
            self.training_size(name)
        return self

    def training_size(self, source: str) -> tuple[int, int]:
        """(height, width) of the pictures that a network of this source sees, also on its targets.

        Raises:
            ValueError: Neither the experiment nor the dataset says.
        """
        size = self.image_size or self.datasets[source].training_size
        if size is None:
            raise ValueError(
                f"a manifest has no size of its own, but {source!r} is a source: "
                f"give `image_size: [height, width]` (datasets.{source}.image_size)."
            )
        return size


def load_experiment(path: Path) -> Experiment:
    """Read an experiment.

    Args:
        path: A YAML file; relative dataset paths in it start at its folder.

    Raises:
        RequestError: The file is missing, is no YAML, or says something that does not hold; all of it is listed.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"an experiment must be a YAML file, but {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"an experiment must be a YAML file, but {path} does not read: {error}") from error
    if not isinstance(document, dict):
        raise RequestError(f"an experiment must be a mapping of settings, but {path} holds {type(document).__name__}.")
    try:
        experiment = Experiment.model_validate(document)
    except ValidationError as error:
        raise RequestError("\n".join(f"{path}: {line}" for line in describe_errors(error))) from None
    return _with_absolute_paths(experiment, path.absolute().parent)


def _with_absolute_paths(experiment: Experiment, folder: Path) -> Experiment:
    datasets: dict[str, DiskData | SyntheticData] = {
        name: data.model_copy(update={"path": folder / data.path.expanduser()}) if isinstance(data, DiskData) else data
        for name, data in experiment.datasets.items()
    }
    return experiment.model_copy(update={"datasets": datasets})


def describe_errors(error: ValidationError) -> list[str]:
    """One sentence for each thing that does not hold, with the setting's dotted name."""
    return [_describe(details) for details in error.errors()]


def _describe(details: Any) -> str:
    # Tags of unions (the kind of a dataset) and class names are pydantic's, not the user's.
    location = [str(part) for part in details["loc"] if not _is_internal(str(part))]
    setting = ".".join(location)
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key `{setting}`.{_suggestion(location[-1], _keys_at(location[:-1]))}"
    if details["type"] == "missing":
        return f"`{setting}` must be given, but is missing."
    message = details["msg"].removeprefix("Value error, ").rstrip(".")
    if details["type"] == "value_error":
        return f"{message} ({setting})." if setting else f"{message}."
    return f"`{setting}`: {message[0].lower()}{message[1:]}, but got {details['input']!r}."


def _is_internal(part: str) -> bool:
    return part in {"spec", "synthetic", "function-before", "literal['same']"} or "[" in part or part in _DISK_KINDS


_DISK_KINDS = set(get_args(DiskData.model_fields["kind"].annotation))


def _keys_at(location: list[str]) -> set[str]:
    """The keys that may stand at a place of the file."""
    if location[:1] == ["datasets"]:
        return {field.name for field in fields(SyntheticSpec)} | set(DiskData.model_fields)
    kind: Any = Experiment
    for part in location:
        kind = next((c for c in _classes(_annotation(kind, part))), None)
        if kind is None:
            return set()
    return set(kind.model_fields) if hasattr(kind, "model_fields") else {field.name for field in fields(kind)}


def _annotation(kind: Any, name: str) -> Any:
    if hasattr(kind, "model_fields"):
        return kind.model_fields[name].annotation
    return next(field.type for field in fields(kind) if field.name == name)


def _classes(annotation: Any) -> Iterable[Any]:
    """The models and dataclasses within a type."""
    if is_dataclass(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else f" Known: {', '.join(sorted(known))}." if known else ""
