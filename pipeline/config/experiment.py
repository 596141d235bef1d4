"""An experiment: the content of a YAML file, checked strictly.

Every number of the method is in `msinet.recipes`. A file gives only the settings that differ from the paper."""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from msinet.genotype import Genotype
from msinet.recipes import Alignment
from msinet.spaces import PAPER_SPACE
from pipeline.config.budget import Budget
from pipeline.config.combined import check_combined, gather_combined
from pipeline.config.derive import Derive
from pipeline.config.names import Name
from pipeline.config.parts import (
    Baseline,
    Data,
    Retrain,
    Runtime,
    SearchSplit,
    Seed,
    Size,
    Start,
    Strict,
    based_on,
)
from pipeline.config.race import Race
from pipeline.config.random_genotypes import RandomGenotypes
from pipeline.config.resources import Resources, Workers
from pipeline.config.search import SearchSettings
from pipeline.config.selection import Selection
from pipeline.config.space import SearchSpace, check_scheme, check_size
from pipeline.config.tune import Tune
from pipeline.errors import suggestion


class Experiment(Strict):
    """One experiment: a grid of sources, splits, seeds and targets.

    Attributes:
        name: Name of the grid, and of the experiment in MLflow.
        datasets: The datasets, by the names that `sources` and `targets` use.
        sources: Datasets to train on. `{name: NAME, of: [DATASET, DATASET]}` makes one source of several datasets whose
            identities and cameras stay apart.
        targets: Datasets to evaluate on: a list for all sources, or one list for each source; empty if the experiment
            only searches.
        combined: The datasets of each source that is made of several; filled from `sources`.
        image_size: (height, width) of the pictures of every source; by default each dataset's own.
        splits: Train/valid identity splits of the searches: `T-V`, or with a supervision that differs from the recipe's
            (`100-100 softmax`), or `{split: NAME, file: PATH}` for a split that a file states. A list for all sources,
            or one list for each source; empty for no search.
        split_seed: Seed that shuffles the identities before they are split; by default they are not shuffled.
        space: The search space: a name of `msinet.spaces.SHIPPED`, the path of a YAML file, or the settings of a space.
        genotypes: Genotypes that are retrained without a search: published names, 12 letters of `space`, or a space's
            name, a colon and 12 letters.
        random_genotypes: How many genotypes are drawn at random and retrained, as a baseline, and how they are drawn.
        networks: Baselines that are trained and evaluated like the genotypes: `resnet50`, `osnet`, or
            `{name: osnet, scales: [7, 9]}`.
        alignments: Values of `TrainRecipe.alignment`. Each genotype is retrained once for each value; by default only
            with the recipe's own, which the `networks` always use.
        starts: What trainings start from: `scratch`, or `pretrained` for the files in `weights`.
        weights: Files with weights to start from, by the entry's name in `genotypes` or `networks`.
            `--weights NAME=PATH` adds one.
        after_neck: Whether embeddings are taken after the necks.
        rerank: Whether evaluations also give scores after k-reciprocal re-ranking.
        rank: Whether every genotype is also scored under the shared weights of every search on the same source
            (`msinet rank`).
        measure: Whether the parameters and the inference time of every network and of ResNet-50 are measured.
        runtime: What runs the networks whose time is measured: `torch`, or `onnxruntime` or `openvino` on a processor.
        evaluation_runtime: What embeds the pictures of evaluations, with the same choices.
        figures: Whether ranked lists and activation maps are drawn that compare the first network with each other one.
        tables: Which of the paper's Tables 7 to 11 the report contains; by default those for which the experiment has a
            cell.
        derive: How many genotypes of each search are retrained.
        search_seeds: Seeds of the searches, one search for each. A seed decides the initial weights and α, the batches
            and the augmentation.
        retrain_seeds: Seeds of the retrainings, one retraining for each.
        search: The search recipe, with the scheme of the search.
        retrain: The retraining recipes.
        workers: How many processes share one search or one retraining, under Ray Train.
        threads: CPU threads of a stage. They are part of the key, because their number changes how sums are rounded.
        checkpoint_every: Seconds between saved states of a search or a training.
        resources: What stages occupy on the cluster.
        selection: How one genotype is chosen for each source without query and gallery pictures; by default none is.
        budget: Hours that the stages may take together; by default there is no bound.
        race: Settings of `msinet race`; no other verb uses them.
        tune: Settings of `msinet tune`; no other verb runs trials.
    """

    name: Name
    datasets: dict[Name, Data]
    sources: list[str] = Field(min_length=1)
    combined: dict[Name, list[str]] = {}
    targets: list[str] | dict[str, list[str]]
    image_size: Size | None = None
    splits: list[SearchSplit] | dict[str, list[SearchSplit]] = []
    split_seed: Seed | None = None
    space: SearchSpace = PAPER_SPACE
    genotypes: list[str] = []
    random_genotypes: RandomGenotypes | None = None
    networks: list[Baseline] = []
    alignments: list[Alignment] = []
    starts: list[Start] = Field(default=["scratch"], min_length=1)
    weights: dict[str, Path] = {}
    after_neck: bool = False
    rerank: bool = False
    rank: bool = False
    measure: bool = False
    runtime: Runtime = "torch"
    evaluation_runtime: Runtime = "torch"
    figures: bool = False
    tables: list[Literal[7, 8, 9, 10, 11]] = []
    derive: Derive = Derive()
    search_seeds: list[Seed] = Field(default=[0], min_length=1)
    retrain_seeds: list[Seed] = Field(default=[0], min_length=1)
    search: Annotated[SearchSettings, based_on(SearchSettings())] = SearchSettings()
    retrain: Retrain = Retrain()
    workers: Workers = Workers()
    threads: int = Field(default=1, ge=1, le=1024)
    checkpoint_every: float = Field(default=60, ge=0)
    resources: Resources = Resources()
    selection: Selection | None = None
    budget: Budget | None = None
    race: Race | None = None
    tune: Tune | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather_combined(cls, value: Any) -> Any:
        return gather_combined(value) if isinstance(value, dict) else value

    @field_validator("genotypes")
    @classmethod
    def _genotypes_parse(cls, genotypes: list[str], info: ValidationInfo) -> list[str]:
        for genotype in genotypes:
            Genotype.parse(genotype, info.data.get("space", PAPER_SPACE))
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
            raise ValueError(f"every entry must appear only once, but {', '.join(repeated)} is repeated.")
        return values

    @model_validator(mode="after")
    def _names_are_known(self) -> "Experiment":
        check_combined(self.combined, self.sources, self.datasets)
        named = [part for source in self.sources for part in self.parts_of(source)]
        for role, names in (("sources", named), ("targets", self.all_targets)):
            for name in names:
                if name not in self.datasets:
                    hint = suggestion(name, self.datasets)
                    raise ValueError(f"`{role}` must name entries of `datasets`, but got {name!r}.{hint}")
        if not (self.has_genotypes or self.networks or self.tune):
            raise ValueError("an experiment must have `splits`, `genotypes`, `networks` or `tune`, but has none.")
        if self.random_genotypes:
            self.random_genotypes.check(self.space, searches=bool(self.splits))
        self.derive.check(self.space, [entry.recipe(self.search).scheme for entry in self.all_splits])
        if self.rank and not self.splits:
            raise ValueError("`rank` scores genotypes under the weights of searches, so it needs `splits`.")
        if self.tune:
            single = [source for source in self.sources if source not in self.combined]
            self.tune.check(single, self.retrain.in_domain)
        self._selection_fits()
        self._space_fits()
        for name in self.sources:
            self.training_size(name)
        for name in self.weights:
            self.require_named_network(name, "weights")
        self.workers.check("search", [self.search])
        self.workers.check("retrain", [recipe for recipe in self.retrain.recipes if recipe != "same"])
        self._schemes_fit()
        for setting in ("targets", "splits"):
            value = getattr(self, setting)
            stray = [name for name in value if isinstance(value, dict) and name not in self.sources]
            if stray:
                raise ValueError(f"the keys of `{setting}` must be entries of `sources`, but got {', '.join(stray)}.")
        return self

    def _schemes_fit(self) -> None:
        for source in self.sources:
            for entry in self.splits_of(source):
                scheme = entry.recipe(self.search).scheme
                scheme.check_size(self.training_size(source))
                check_scheme(self.space, scheme)
                if self.rank and scheme.channel_divisor > 1:
                    raise ValueError(
                        f"`rank` takes whole operations from supernets, but those of the scheme {scheme.name} are "
                        "narrower than the derived network's (search.scheme, splits)."
                    )

    def _selection_fits(self) -> None:
        if self.selection is None:
            return
        if not self.has_genotypes:
            raise ValueError("`selection` must have `splits` or `genotypes` to choose from, but there are none.")
        domain = self.selection.domain
        if domain is None:
            return
        if domain not in self.datasets:
            hint = suggestion(domain, self.datasets)
            raise ValueError(f"`selection.domain` must name an entry of `datasets`, but got {domain!r}.{hint}")
        for source in self.sources:
            if any(self.same_domain(name, domain) for name in (source, *self.targets_of(source))):
                raise ValueError(
                    "`selection.domain` must be neither a source nor a target nor another test list of one, because "
                    f"scores on it choose the genotype, but got {domain!r}."
                )

    def _space_fits(self) -> None:
        if self.tune and self.space != PAPER_SPACE:
            raise ValueError(f"`tune` needs the paper's space, msinet, but `space` is {self.space.name}.")
        spaces = {self.space, *(Genotype.parse(genotype, self.space).space for genotype in self.genotypes)}
        for source, space in itertools.product(self.sources, spaces):
            check_size(space, self.training_size(source))

    def require_named_network(self, name: str, setting: str) -> None:
        """Check that a name is an entry of `genotypes` or `networks`.

        Raises:
            ValueError: It is not. The message says that `setting` is wrong.
        """
        known = [*self.genotypes, *(network.label for network in self.networks)]
        if name not in known:
            hint = suggestion(name, known)
            raise ValueError(f"`{setting}` must name entries of `genotypes` or `networks`, but got {name!r}.{hint}")

    def targets_of(self, source: str) -> list[str]:
        """Return the datasets on which the networks of one source are evaluated."""
        return self.targets.get(source, []) if isinstance(self.targets, dict) else self.targets

    def same_domain(self, source: str, target: str) -> bool:
        """Return whether an evaluation is in-domain: on the source itself, or on another test list of the same family.

        For example, VehicleID's test lists are several targets of one dataset. On a combined source, all datasets that
        it is made of are in-domain.
        """
        family = self.datasets[target].family
        parts = self.parts_of(source)
        return target in parts or (family is not None and family in {self.datasets[part].family for part in parts})

    def parts_of(self, source: str) -> list[str]:
        """Return the datasets of which a source is made: itself, or those of a combined source."""
        return self.combined.get(source, [source])

    def splits_of(self, source: str) -> list[SearchSplit]:
        """Return the splits of the searches on one source."""
        return self.splits.get(source, []) if isinstance(self.splits, dict) else self.splits

    @property
    def all_splits(self) -> list[SearchSplit]:
        """Return the splits of the searches on all sources."""
        return [split for source in self.sources for split in self.splits_of(source)]

    @property
    def has_genotypes(self) -> bool:
        """Return whether any genotype is named, drawn or searched."""
        return bool(self.splits or self.genotypes or self.random_genotypes)

    @property
    def all_targets(self) -> list[str]:
        """Return every target once, in the file's order."""
        return list(dict.fromkeys(target for source in self.sources for target in self.targets_of(source)))

    @property
    def used_datasets(self) -> list[str]:
        """Return every dataset of a source, every target and the dataset of the selection once."""
        chosen_on = [self.selection.domain] if self.selection and self.selection.domain else []
        trained_on = [part for source in self.sources for part in self.parts_of(source)]
        return list(dict.fromkeys([*trained_on, *self.all_targets, *chosen_on]))

    def training_size(self, source: str) -> tuple[int, int]:
        """Return (height, width) of the pictures for the networks of this source, in training and on all targets.

        Raises:
            ValueError: Neither the experiment nor the dataset states a size, or the datasets of a combined source
                state different ones.
        """
        sizes = [self.image_size or self.datasets[part].training_size for part in self.parts_of(source)]
        size = sizes[0]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"the datasets of a combined source must have one picture size, but those of {source!r} have several: "
                "give `image_size: [height, width]` (image_size)."
            )
        if size is None:
            raise ValueError(
                f"a manifest states no picture size, but {source!r} is a source: "
                f"give `image_size: [height, width]` (datasets.{source}.image_size)."
            )
        return size
