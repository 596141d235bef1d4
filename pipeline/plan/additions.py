"""Stages that an experiment may have in addition to its trainings: measurements, scores and pictures."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.plan.candidates import Candidate
from pipeline.plan.stage import Stage


def additions(
    experiment: Experiment,
    candidates_of: Callable[[str], Iterable[Candidate]],
    stages: Sequence[Stage],
    hold_out: int | None,
) -> Iterator[Stage]:
    """Yield the stages that the settings `random_genotypes`, `rank`, `measure` and `figures` add.

    Args:
        experiment: The experiment.
        candidates_of: Function from a source to its candidates.
        stages: The stages so far.
        hold_out: As in `pipeline.plan.unfold.plan`.
    """
    if experiment.random_genotypes and not hold_out:
        for source in experiment.sources:
            yield from proxies(experiment, source, candidates_of(source))
    if experiment.rank and not hold_out:
        for source in experiment.sources:
            yield from shared_scores(experiment, source, candidates_of(source), stages)
    if experiment.measure:
        for source in experiment.sources:
            yield from measurements(experiment, source, candidates_of(source), hold_out)
    if experiment.figures:
        yield from pair_pictures(experiment, [stage for stage in stages if stage.on_target])


def measurements(
    experiment: Experiment, source: str, candidates: Iterable[Candidate], hold_out: int | None
) -> Iterator[Stage]:
    """Yield a measurement of every candidate, and without `hold_out` of ResNet-50, at a source's picture size."""
    baseline = Candidate("resnet50", "resnet50", {"options": {}})
    runtime = {} if experiment.runtime == "torch" else {"runtime": experiment.runtime}
    more: dict[str, Any] = {"device": None, **({"batch_size": 1} if hold_out else {}), **runtime}
    for candidate in [*([] if hold_out else [baseline]), *candidates]:
        yield _of_network("measure", experiment, source, candidate, more)


def proxies(experiment: Experiment, source: str, candidates: Iterable[Candidate]) -> Iterator[Stage]:
    """Yield the zero-cost proxies of every genotype of a source, beside which random genotypes are reported."""
    for candidate in candidates:
        if candidate.network == "msinet":
            yield _of_network("proxy", experiment, source, candidate, {"seed": 0})


def _of_network(kind: str, experiment: Experiment, source: str, candidate: Candidate, more: dict[str, Any]) -> Stage:
    """Return a stage that looks at a network alone, at the picture size of a source, with `more` settings."""
    height, width = experiment.training_size(source)
    return Stage(
        f"{kind} {candidate.origin}{f' on {source}' if candidate.needs else ''} {height}x{width}",
        kind,
        {
            "network": candidate.network,
            **candidate.settings,
            "image_size": [height, width],
            "threads": experiment.threads,
            **more,
        },
        needs=candidate.needs,
        candidate=candidate.number,
        drawn=candidate.drawn,
        labels={"network": candidate.network, "origin": candidate.origin, **candidate.labels},
    )


def shared_scores(
    experiment: Experiment, source: str, candidates: Iterable[Candidate], stages: Iterable[Stage]
) -> Iterator[Stage]:
    """Yield a score of every genotype of a source under the shared weights of every search on it."""
    # A supernet has weights for the genotypes of its own space only.
    space = experiment.space.options.get("space")
    genotypes = [c for c in candidates if c.network == "msinet" and c.settings.get("space") == space]
    searches = [stage for stage in stages if stage.kind == "search" and stage.labels["source"] == source]
    for search, candidate in itertools.product(searches, genotypes):
        supernet = search.name.removeprefix(f"search {source} ")
        yield Stage(
            f"score {source} {candidate.origin} under {supernet}",
            "score",
            {
                **candidate.settings,
                "image_size": list(experiment.training_size(source)),
                "threads": experiment.threads,
            },
            needs={"source_data": f"prepare {source}", "supernet": search.name, **candidate.needs},
            candidate=candidate.number,
            drawn=candidate.drawn,
            labels={**search.labels, "origin": candidate.origin, "supernet": supernet},
        )


def pair_pictures(experiment: Experiment, evaluations: Iterable[Stage]) -> Iterator[Stage]:
    """Yield the pictures that compare networks of the same source, target and seed: the first with each other one."""
    groups: dict[tuple[Any, ...], list[Stage]] = {}
    for stage in evaluations:
        groups.setdefault(tuple(stage.labels[name] for name in ("source", "target", "seed")), []).append(stage)
    for (source, target, seed), (first, *others) in groups.items():
        for other in others:
            names = [stage.needs["model"].removeprefix(f"retrain {source} ") for stage in (first, other)]
            yield Stage(
                f"picture {source} {names[0]} beside {names[1]} on {target}",
                "picture",
                {
                    "names": names,
                    "image_size": list(experiment.training_size(source)),
                    "threads": experiment.threads,
                },
                needs={
                    "model": first.needs["model"],
                    "other_model": other.needs["model"],
                    "evaluation": first.name,
                    "other_evaluation": other.name,
                    "target_data": f"prepare {target}",
                },
                labels={"dataset": target, "source": source, "target": target, "seed": seed},
            )
