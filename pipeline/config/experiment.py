"""An experiment: the whole of a YAML file, checked strictly.

Every number of the method stands in `msinet.recipes`; a file names only what differs from the paper."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from msinet.genotype import Genotype
from msinet.recipes import Alignment, SearchRecipe, TrainRecipe
from pipeline.config.parts import (
    Baseline,
    Data,
    Resources,
    Retrain,
    SearchSplit,
    Seed,
    Size,
    Strict,
    Workers,
    based_on,
)
from pipeline.config.tune import Tune
from pipeline.errors import suggestion


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
    search: Annotated[SearchRecipe, based_on(SearchRecipe())] = SearchRecipe()
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
                    hint = suggestion(name, self.datasets)
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
                hint = suggestion(name, trained)
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
        families = {self.datasets[name].family for name in (source, target)}
        return source == target or (None not in families and len(families) == 1)

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
