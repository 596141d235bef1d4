"""Where the genotypes of an experiment lie among random ones, and whether figures that cost nothing do as well."""

from collections.abc import Mapping, Sequence
from statistics import mean

from msinet.statistics import Interval, best_of, probability_of_luck
from pipeline.plan.candidates import DRAWN
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.correlation import rank_agreement
from pipeline.reports.panels import Panel
from pipeline.reports.selection import score_of, scored_genotypes

PROXIES = {"parameters": "parameters", "gmacs": "multiply-accumulates", "log_synflow": "synflow"}


def luck_panels(plan: Plan) -> list[Panel]:
    """Return for each source what random genotypes say about the others, if the experiment draws any."""
    if plan.experiment.random_genotypes is None:
        return []
    experiment = plan.experiment
    panels = (_panel(plan, source, target) for source in experiment.sources for target in experiment.targets_of(source))
    return [panel for panel in panels if panel]


def _panel(plan: Plan, source: str, target: str) -> Panel | None:
    seeds = len(plan.experiment.retrain_seeds)
    rows = {row.name: row for row in scored_genotypes(plan, source)}
    scores = {n: s for n, row in rows.items() if (s := score_of(row.tests.get(target, []), seeds)) is not None}
    random = [name for name in scores if any(DRAWN in stage.labels for stage in rows[name].tests[target])]
    if not random:
        return None
    drawn = [scores[name] for name in random]
    body = []
    for name in sorted(scores.keys() - set(random), key=lambda name: -scores[name]):
        one = probability_of_luck(scores[name], drawn)
        draws = _equal_cost(plan, rows[name].tests[target])
        several = [f"{draws:.1f}", _percent(best_of(draws, one))] if draws else ["-", "-"]
        better = f"{100 * sum(score < scores[name] for score in drawn) / len(drawn):.0f} %"
        body.append([name, ", ".join(rows[name].origins), f"{100 * scores[name]:.1f}", better, _percent(one), *several])
    header = [
        "genotype",
        "found by",
        "mAP",
        "better than",
        "one draw as good",
        "draws k at equal cost",
        "best of k as good",
    ]
    notes = [
        f"{len(drawn)} random genotypes score {100 * mean(drawn):.1f} on average, from {100 * min(drawn):.1f} to "
        f"{100 * max(drawn):.1f}. Intervals in brackets are exact 95 % intervals of a share of the random ones.",
        *_proxy_notes(plan, source, target, scores),
        "Scores are means over retraining seeds, and hold their noise, that of the random ones too. k is 1 plus the "
        "seconds of the search divided by those of the retrainings of one genotype.",
    ]
    title = f"Luck: genotypes trained on {source} among random ones, on {target}"
    return Panel(f"luck-{source}-{target}", title, [header, *body] if body else (), notes)


def _equal_cost(plan: Plan, tests: Sequence[Stage]) -> float | None:
    """Return how many random genotypes can be retrained in the time of a searched one, its search included.

    None for a genotype that no search of the experiment has found.
    """
    models = {stage.key: stage.result for stage in (plan.stages[test.needs["model"]] for test in tests)}
    found = (s for s in plan.of_kind("retrain") if s.key in models and "genotype" in s.needs and DRAWN not in s.labels)
    searches = [plan.stages[stage.needs["genotype"]].result for stage in found]
    seconds = sum(result["train_seconds"] for result in models.values() if result)
    return float(1 + searches[0]["train_seconds"] / seconds) if searches and searches[0] and seconds else None


def _proxy_notes(plan: Plan, source: str, target: str, scores: Mapping[str, float]) -> list[str]:
    """Return sentences on how well figures of the untrained networks agree with the scores."""
    size = list(plan.experiment.training_size(source))
    figures = {
        str(stage.result["genotype"]): stage.result["metrics"]
        for stage in plan.of_kind("proxy")
        if stage.result and stage.settings["image_size"] == size
    }
    names = [name for name in scores if name.split()[0] in figures]
    told = []
    for proxy, words in PROXIES.items():
        values = [figures[name.split()[0]][proxy] for name in names]
        told += rank_agreement(values, [scores[name] for name in names], f"{words} and {target}")
    return told


def _percent(probability: Interval) -> str:
    return f"{100 * probability.estimate:.0f} % [{100 * probability.low:.0f}, {100 * probability.high:.0f}]"
