"""An experiment as a YAML file: read safely, checked strictly.

Every number of the method stands in `msinet.recipes`; a file names only what differs from the paper.
"""

import os
from collections.abc import Iterable, Sequence
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
from msinet.genotype import Genotype
from msinet.recipes import RECIPES, Alignment, BatchRecipe, SearchRecipe, Supervision, TrainRecipe
from pipeline.errors import RequestError
from pipeline.errors import suggestion as _suggestion
from pipeline.paths import JOB_VARIABLE, absolute
from pipeline.tuning.section import Tune, absolute_storage

Seed = Annotated[int, Field(ge=0)]
Size = tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]  # the last map is a sixteenth
ALL_SCALES = (3, 5, 7, 9)  # of OSNet
# (height, width) in pixels, method.md section 1.
PERSON, VEHICLE = (256, 128), (256, 256)


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

    kind: Literal[
        "market1501", "msmt17", "veri", "vehicleid", "vehicleid800", "vehicleid1600", "vehicleid2400", "manifest"
    ]
    path: Path | None = None
    image_size: Size | None = None

    @property
    def training_size(self) -> tuple[int, int] | None:
        """(height, width) as a source, unless the experiment says otherwise."""
        if self.image_size or self.kind == "manifest":
            return self.image_size
        return VEHICLE if self.kind.startswith("ve") else PERSON


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


def _over(recipe: BatchRecipe) -> BeforeValidator:
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

    in_domain: Annotated[TrainRecipe, _over(RECIPES["in_domain"])] = RECIPES["in_domain"]
    cross_domain: Literal["same"] | Annotated[TrainRecipe, _over(RECIPES["cross_domain"])] = RECIPES["cross_domain"]
    strong_baseline: Annotated[TrainRecipe, _over(RECIPES["strong_baseline"])] = RECIPES["strong_baseline"]

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


class Experiment(Strict):
    """One experiment: a grid of sources, splits, seeds and targets.

    Attributes:
        name: Of the grid, and of the MLflow experiment.
        datasets: By the names that `sources` and `targets` use.
        sources: Trained on.
        targets: Evaluated on: a list for all sources, or one for each source; empty for searches alone.
        image_size: (height, width) of every source; by default each dataset's own.
        splits: Train/valid identity splits `T-V` of the searches, with the supervision where it is not the
            recipe's (`100-100 softmax`), or `{split: NAME, file: PATH}` for one that a file states: a list for all
            sources, or one for each source; empty for no search.
        split_seed: Shuffles the identities before they are split.
        genotypes: Retrained without a search: published names or 12 letters.
        networks: Baselines, trained and evaluated like the genotypes: `resnet50`, `osnet`, or
            `{name: osnet, scales: [7, 9]}`.
        alignments: Choices of `TrainRecipe.alignment`, one retraining of each genotype for each; by default the
            recipe's own, which is what `networks` keep.
        starts: `scratch`, or `pretrained` from `weights`.
        weights: Files with weights to start from, by genotype as named, or by network; `--weights NAME=PATH` adds one.
        after_neck: Whether embeddings are taken after the necks.
        rerank: Whether evaluations give scores after k-reciprocal re-ranking too.
        measure: Whether parameters and inference time of every network are measured, beside ResNet-50's.
        figures: Whether ranked lists and activation maps are drawn, the first network beside each of the others.
        tables: Which of the paper's Tables 7 to 11 the report draws; by default those that have a cell here.
        search_seeds: One search for each; they decide weights, α's start, batches and augmentation.
        retrain_seeds: One retraining for each.
        search: The search recipe.
        retrain: The retraining recipes.
        workers: Processes that share one search or one retraining, under Ray Train.
        threads: CPU threads of a stage, part of its key: other numbers of threads round differently.
        checkpoint_every: Seconds between saved states of a search or a training.
        resources: What stages occupy.
        tune: What `msinet tune` does; nothing else reads it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    datasets: dict[str, Data]
    sources: list[str] = Field(min_length=1)
    targets: list[str] | dict[str, list[str]]
    image_size: Size | None = None
    splits: list[SearchSplit] | dict[str, list[SearchSplit]] = []
    split_seed: Seed | None = None
    genotypes: list[str] = []
    networks: list[Baseline] = []
    alignments: list[Alignment] = []
    starts: list[Literal["scratch", "pretrained"]] = Field(default=["scratch"], min_length=1)
    weights: dict[str, Path] = {}
    after_neck: bool = False
    rerank: bool = False
    measure: bool = False
    figures: bool = False
    tables: list[Literal[7, 8, 9, 10, 11]] = []
    search_seeds: list[Seed] = Field(default=[0], min_length=1)
    retrain_seeds: list[Seed] = Field(default=[0], min_length=1)
    search: Annotated[SearchRecipe, _over(SearchRecipe())] = SearchRecipe()
    retrain: Retrain = Retrain()
    workers: Workers = Workers()
    threads: int = Field(default=1, ge=1)
    checkpoint_every: float = Field(default=60, ge=0)
    resources: Resources = Resources()
    tune: Tune | None = None

    @field_validator("genotypes")
    @classmethod
    def _genotypes_parse(cls, genotypes: list[str]) -> list[str]:
        for genotype in genotypes:
            Genotype.parse(genotype)
        return genotypes

    @field_validator("targets", "splits")
    @classmethod
    def _each_list_is_without_repeats(cls, value: Any) -> Any:
        for entries in value.values() if isinstance(value, dict) else [value]:
            cls._no_repeats(entries)
        return value

    @field_validator("sources", "genotypes", "networks", "search_seeds", "retrain_seeds")
    @classmethod
    def _no_repeats(cls, values: list[Any]) -> list[Any]:
        texts = [str(getattr(value, "label", value)) for value in values]
        repeated = sorted({text for text in texts if texts.count(text) > 1})
        if repeated:
            raise ValueError(f"every entry must be there once, but {', '.join(repeated)} is repeated.")
        return values

    @model_validator(mode="after")
    def _names_are_known(self) -> "Experiment":
        for role, names in (("sources", self.sources), ("targets", self.all_targets)):
            for name in names:
                if name not in self.datasets:
                    hint = _suggestion(name, self.datasets)
                    raise ValueError(f"`{role}` must name entries of `datasets`, but got {name!r}.{hint}")
        if not (self.splits or self.genotypes or self.networks or self.tune):
            raise ValueError("an experiment must search (`splits`) or name `genotypes` or `networks`, but has none.")
        if self.tune:
            self.tune.check(self.sources, self.retrain.in_domain)
        for name in self.sources:
            self.training_size(name)
        trained = [*self.genotypes, *(network.label for network in self.networks)]
        for name in self.weights:
            if name not in trained:
                hint = _suggestion(name, trained)
                raise ValueError(f"`weights` must name entries of `genotypes` or `networks`, but got {name!r}.{hint}")
        self._workers_divide_batches()
        for setting in ("targets", "splits"):
            value = getattr(self, setting)
            stray = [name for name in value if isinstance(value, dict) and name not in self.sources]
            if stray:
                raise ValueError(f"`{setting}` must be given for `sources`, but got {', '.join(stray)}.")
        return self

    def _workers_divide_batches(self) -> None:
        retrain = [recipe for recipe in self.retrain.recipes if isinstance(recipe, TrainRecipe)]
        for kind, recipes in (("search", [self.search]), ("retrain", retrain)):
            workers: int = getattr(self.workers, kind)
            for recipe in recipes:
                if recipe.num_ids % workers:
                    raise ValueError(
                        f"`workers.{kind}` must divide the {recipe.num_ids} identities of a batch "
                        f"(batch_size / num_instances), but got {workers}."
                    )

    def targets_of(self, source: str) -> list[str]:
        """What the networks of one source are evaluated on."""
        return self.targets.get(source, []) if isinstance(self.targets, dict) else self.targets

    def same_domain(self, source: str, target: str) -> bool:
        """Whether an evaluation is in-domain: VehicleID's test lists are targets of one dataset."""
        kinds = [self.datasets[name].kind for name in (source, target)]
        return source == target or all(kind.startswith("vehicleid") for kind in kinds)

    def splits_of(self, source: str) -> list[SearchSplit]:
        """The searches of one source."""
        return self.splits.get(source, []) if isinstance(self.splits, dict) else self.splits

    @property
    def all_targets(self) -> list[str]:
        """Every target once, in the file's order."""
        return list(dict.fromkeys(target for source in self.sources for target in self.targets_of(source)))

    @property
    def used_datasets(self) -> list[str]:
        """Every source and target once."""
        return list(dict.fromkeys([*self.sources, *self.all_targets]))

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


def load_experiment(path: Path, data: Sequence[str] = (), weights: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Args:
        path: A YAML file; relative paths in it start at its folder.
        data: `NAME=PATH` for datasets of the file, in place of the path there.
        weights: `NAME=PATH` for files with weights, beside those of the file.

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
    return _with_options(_with_absolute_paths(experiment, path.absolute().parent), data, weights)


def _from_folder(path: Path, folder: Path, setting: str) -> Path:
    # Relative paths start at the file; in a job that file lies in the copy, which holds no data.
    return absolute(path, setting) if JOB_VARIABLE in os.environ else folder / path.expanduser()


def _with_options(experiment: Experiment, data: Sequence[str], weights: Sequence[str]) -> Experiment:
    datasets = dict(experiment.datasets)
    for name, path in (_name_and_path(item, "--data") for item in data):
        given = datasets.get(name)
        if not isinstance(given, DiskData):
            raise RequestError(f"`--data` must name a dataset on disk, but got {name!r}.{_suggestion(name, datasets)}")
        datasets[name] = given.model_copy(update={"path": path})
    added = dict(_name_and_path(item, "--weights") for item in weights)
    return experiment.model_copy(update={"datasets": datasets, "weights": {**experiment.weights, **added}})


def _name_and_path(item: str, option: str) -> tuple[str, Path]:
    name, separator, path = item.partition("=")
    if not separator or not path:
        raise RequestError(f"`{option}` must be NAME=PATH, but got {item!r}.")
    return name, absolute(Path(path), f"{option} {name}")


def _with_absolute_paths(experiment: Experiment, folder: Path) -> Experiment:
    datasets: dict[str, DiskData | SyntheticData] = {
        name: data.model_copy(update={"path": _from_folder(data.path, folder, f"datasets.{name}.path")})
        if isinstance(data, DiskData) and data.path
        else data
        for name, data in experiment.datasets.items()
    }
    weights = {name: _from_folder(path, folder, f"weights.{name}") for name, path in experiment.weights.items()}

    def absolute_file(entry: SearchSplit) -> SearchSplit:
        file = entry.file and _from_folder(entry.file, folder, f"splits {entry.split} file")
        return entry.model_copy(update={"file": file})

    splits: Any = experiment.splits
    if isinstance(splits, dict):
        splits = {source: [absolute_file(entry) for entry in entries] for source, entries in splits.items()}
    else:
        splits = [absolute_file(entry) for entry in splits]
    tune = experiment.tune
    if tune:
        storage = absolute_storage(tune.storage, lambda path: _from_folder(path, folder, "tune.storage"))
        tune = tune.model_copy(update={"storage": storage})
    return experiment.model_copy(update={"datasets": datasets, "weights": weights, "splits": splits, "tune": tune})


def describe_errors(error: ValidationError) -> list[str]:
    """One sentence for each thing that does not hold, with the setting's dotted name."""
    details = error.errors()
    # Of a setting that is `same` or a recipe pydantic tells what is wrong with either; a mapping was meant as a recipe.
    told = [d for d in details if not (d["type"] == "literal_error" and isinstance(d["input"], dict))]
    return [_describe(d) for d in told or details]


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
        return kind.model_fields[name].annotation if name in kind.model_fields else None
    return next((field.type for field in fields(kind) if field.name == name), None)


def _classes(annotation: Any) -> Iterable[Any]:
    """The models and dataclasses within a type."""
    if is_dataclass(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)
