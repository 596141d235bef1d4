"""The plan of an experiment, made by combining its axes (sources, splits, seeds, targets and so on) into stages."""

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from msinet.recipes import Alignment
from pipeline.config.experiment import Experiment
from pipeline.config.parts import Start
from pipeline.config.selection import Selection
from pipeline.plan.additions import additions
from pipeline.plan.candidates import DRAWN, Candidate, derived, drawn, named
from pipeline.plan.sources import combined_stage, prepare_stage, recipe_numbers, search_stage
from pipeline.plan.stage import HELD_OUT, Labels, Lookup, Plan, Stage, content_of


def plan(
    experiment: Experiment,
    fingerprints: Mapping[str, str] | None = None,
    lookup: Lookup | None = None,
    *,
    hold_out: int | None = None,
) -> Plan:
    """Plan an experiment. Nothing is read from a dataset, and nothing is started.

    Args:
        experiment: The experiment.
        fingerprints: The known fingerprints of disk datasets, by name.
        lookup: Function that finds a published result by kind and key; by default nothing is published.
        hold_out: Percent of each source's training identities, the last ones, on which its networks are not trained but
            evaluated, instead of on targets. Measurements then take one picture at a time, and leave out ResNet-50. An
            experiment's `selection` has no effect then.
    """
    builder = _Builder(experiment, dict(fingerprints or {}), hold_out)
    built = Plan(experiment, builder.build())
    built.resolve(lookup or (lambda kind, key: None))
    return built


def genotypes_of(experiment: Experiment, source: str) -> list[str]:
    """Return the names of the genotypes that are trained on a source: the named ones, the drawn and the searched."""
    builder = _Builder(experiment, {})
    builder.build()
    return [candidate.origin for candidate in builder.candidates(source) if candidate.network == "msinet"]


class _Builder:
    """Builds the stages of an experiment from its axes."""

    def __init__(self, experiment: Experiment, fingerprints: dict[str, str], hold_out: int | None = None) -> None:
        self.experiment = experiment
        self.hold_out = hold_out
        self.fingerprints = fingerprints
        self.contents: dict[Path, str] = {}  # hash by file with weights or a split, so that each file is read once
        self.stages: dict[str, Stage] = {}

    def build(self) -> dict[str, Stage]:
        experiment = self.experiment
        for name in experiment.used_datasets:
            self._add(prepare_stage(experiment, name, self.fingerprints.get(name)))
        for source in experiment.sources:
            if source in experiment.combined:
                self._add(combined_stage(experiment, source))
        for source in experiment.sources:
            for candidate in list(self.candidates(source)):  # all searches of a source come first
                self._train_and_evaluate(source, candidate)
        for stage in additions(experiment, self.candidates, list(self.stages.values()), self.hold_out):
            self._add(stage)
        return self.stages

    def _add(self, stage: Stage) -> Stage:
        if stage.lacks is None:
            stage.lacks = next((self.stages[n].lacks for n in stage.needs.values() if self.stages[n].lacks), None)
        return self.stages.setdefault(stage.name, stage)

    def candidates(self, source: str) -> Iterator[Candidate]:
        """Yield the networks that are trained on a source."""
        yield from named(self.experiment)
        yield from drawn(self.experiment)
        yield from self._searched(source)

    def _searched(self, source: str) -> Iterator[Candidate]:
        for entry in self.experiment.splits_of(source):
            recipe = self.experiment.search
            for seed in self.experiment.search_seeds:
                search = self._add(search_stage(self.experiment, source, entry, seed, self._content))
                labels: Labels = {
                    "split": entry.split,
                    "supervision": entry.recipe(recipe).supervision,
                    "search_seed": seed,
                    **entry.labels,
                }
                yield from derived(self.experiment, f"{entry.origin(recipe)} seed {seed}", search.name, labels)

    def _train_and_evaluate(self, source: str, candidate: Candidate) -> None:
        experiment = self.experiment
        alignments: list[Alignment | None] = [None]
        if candidate.network == "msinet" and experiment.alignments:
            alignments = [*experiment.alignments]
        for variant in itertools.product(alignments, experiment.starts, experiment.retrain_seeds):
            if self.hold_out:
                model = self._train(source, candidate, *variant, in_domain=True, held_out={"hold_out": self.hold_out})
                self._evaluate_held_out(model, {"hold_out": self.hold_out})
                continue
            for target in experiment.targets_of(source):
                in_domain = experiment.same_domain(source, target)
                model = self._train(source, candidate, *variant, in_domain=in_domain)
                self._evaluate(model, target, "in_domain" if in_domain else "cross_domain")
            if experiment.selection and candidate.network == "msinet":
                self._compare(experiment.selection, source, candidate, *variant)

    def _compare(
        self,
        selection: Selection,
        source: str,
        candidate: Candidate,
        alignment: Alignment | None,
        start: Start,
        seed: int,
    ) -> None:
        """Add the score by which a genotype may be chosen, and the training for it."""
        variant = (alignment, start, seed)
        if selection.domain:
            model = self._train(source, candidate, *variant, in_domain=False)
            self._evaluate(model, selection.domain, HELD_OUT)
            return
        held_out = {"hold_out": selection.hold_out, **({"hold_out_cameras": True} if selection.by == "camera" else {})}
        without = " without held-out pictures"
        model = self._train(source, candidate, *variant, in_domain=True, held_out=held_out, suffix=without)
        self._evaluate_held_out(model, held_out)

    def _train(
        self,
        source: str,
        candidate: Candidate,
        alignment: Alignment | None,
        start: Start,
        seed: int,
        *,
        in_domain: bool,
        held_out: Mapping[str, Any] = MappingProxyType({}),
        suffix: str = "",
    ) -> Stage:
        """Add a training of a candidate, and return it.

        Args:
            source, candidate, alignment, start, seed: What is trained.
            in_domain: Which recipe is used.
            held_out: The settings that say which training pictures the network does not see.
            suffix: The end of the stage's name, if the same training on all pictures may be in the plan too.
        """
        experiment = self.experiment
        recipe_name, recipe = experiment.retrain.recipe_for(candidate.network, in_domain=in_domain)
        if alignment is not None:
            recipe = replace(recipe, alignment=alignment)
        variant = [*([alignment] if alignment else []), *([start] if start != "scratch" else [])]
        labels: Labels = {
            "source": source,
            "origin": candidate.origin,
            "network": candidate.network,
            **({"genotype": candidate.settings["genotype"]} if "genotype" in candidate.settings else {}),
            **candidate.labels,
            "alignment": recipe.alignment,
            "start": start,
            "recipe": recipe_name,
            "seed": seed,
        }
        settings = {
            "network": candidate.network,
            **candidate.settings,
            "seed": seed,
            "image_size": list(experiment.training_size(source)),
            "recipe": recipe_numbers(recipe),
            "threads": experiment.threads,
            **experiment.workers.settings("retrain"),
            **held_out,
        }
        weights, lacks = self._start(candidate, start)
        return self._add(
            Stage(
                " ".join(["retrain", source, candidate.origin, *variant, recipe_name, f"seed {seed}"]) + suffix,
                "retrain",
                {**settings, **({"start": self._content(weights)} if weights else {})},
                needs={"source_data": f"prepare {source}", **candidate.needs},
                candidate=candidate.number,
                drawn=candidate.drawn,
                labels={"dataset": source, **labels},
                location={"weights": str(weights)} if weights else {},
                lacks=lacks,
            )
        )

    def _start(self, candidate: Candidate, start: str) -> tuple[Path | None, str | None]:
        """Return the file to start from, and what is missing for it; each may be None."""
        if start == "scratch":
            return None, None
        if DRAWN in candidate.labels:
            return None, "needs weights of the genotype that is drawn: add it to `genotypes`"
        if candidate.needs:
            return None, "needs weights of the genotype that the search will find: add it to `genotypes` afterwards"
        origin = candidate.origin
        path = self.experiment.weights.get(origin)
        if path is None:
            return None, f"needs weights: give `weights.{origin}` or --weights {origin}=PATH"
        if not os.path.isfile(path):
            return None, f"needs weights: the file {path} must exist (`weights.{origin}`)"
        return path, None

    @property
    def _runtime(self) -> dict[str, str]:
        """Return the runtime of evaluations as a setting of stages, which keys hold only if it is not PyTorch."""
        runtime = self.experiment.evaluation_runtime
        return {} if runtime == "torch" else {"runtime": runtime}

    def _content(self, path: Path) -> str:
        if path not in self.contents:
            self.contents[path] = content_of(path)
        return self.contents[path]

    def _evaluate(self, model: Stage, target: str, domain: str) -> None:
        self._add(
            Stage(
                f"evaluate {model.name.removeprefix('retrain ')} on {target}",
                "evaluate",
                {
                    "image_size": list(self.experiment.training_size(str(model.labels["source"]))),
                    "after_neck": self.experiment.after_neck,
                    "rerank": self.experiment.rerank,
                    "threads": self.experiment.threads,
                    **self._runtime,
                },
                needs={"model": model.name, "target_data": f"prepare {target}"},
                labels={**model.labels, "dataset": target, "target": target, "domain": domain},
            )
        )

    def _evaluate_held_out(self, model: Stage, held_out: Mapping[str, Any]) -> None:
        """Add an evaluation on the training pictures that are held out."""
        source = str(model.labels["source"])
        self._add(
            Stage(
                f"evaluate {model.name.removeprefix('retrain ')} on held-out {source}",
                "evaluate",
                {
                    "image_size": list(self.experiment.training_size(source)),
                    "after_neck": self.experiment.after_neck,
                    "threads": self.experiment.threads,
                    **self._runtime,
                    **held_out,
                },
                needs={"model": model.name, "source_data": f"prepare {source}"},
                labels={**model.labels, "target": f"held-out {source}", "domain": HELD_OUT},
            )
        )
