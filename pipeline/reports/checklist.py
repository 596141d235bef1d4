"""The checklist for experiments with architecture search, answered by an experiment as far as it can.

The practices are those of M. Lindauer and F. Hutter, Best Practices for Scientific Research on Neural Architecture
Search, JMLR 21 (2020), arXiv 1909.02453, in our own words. The last item is ours.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from msinet.spaces.space import PAPER
from pipeline.config.experiment import Experiment
from pipeline.plan.efforts import hours
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan
from pipeline.reports.panels import Panel
from pipeline.results import Result

Answer = Literal["yes", "partly", "no", "open"]
Answered = tuple[Answer, str]
# Answers that no experiment can give by itself.
OVER_TIME: Answered = "open", "The report compares what networks reach at the end; `history.jsonl` holds every epoch."
BENCHMARK: Answered = (
    "open",
    "None is part of this experiment; the verbs of msinet bench build and replay one for retrieval.",
)
FEW = 3  # seeds below which nothing can be said of a spread


@dataclass(frozen=True)
class Item:
    """A practice, and whether the experiment follows it.

    Attributes:
        practice: What a good experiment does.
        answer: `open` means that the experiment cannot know.
        reason: What the answer rests on, or what is left to do.
    """

    practice: str
    answer: Answer
    reason: str


def checklist_panel(plan: Plan) -> Panel:
    """Return the checklist as a part of a report."""
    items = checklist(plan)
    counts = [f"{sum(item.answer == answer for item in items)} {answer}" for answer in ("yes", "partly", "no", "open")]
    rows = [[item.practice, item.answer, item.reason] for item in items]
    notes = [
        f"Of {len(items)} practices: {', '.join(counts)}. Open means that the experiment cannot know: answer it "
        "yourself.",
        "After M. Lindauer and F. Hutter, Best Practices for Scientific Research on Neural Architecture Search, JMLR "
        "21 (2020), arXiv 1909.02453. The last item is not in their list.",
    ]
    return Panel("checklist", "Checklist for architecture search", [["practice", "answer", "why"], *rows], notes)


def checklist(plan: Plan) -> list[Item]:
    """Return every practice with its answer, in the order of the paper: code, comparison, report."""
    return [
        Item("The code of training, space and search is kept as it was used", *_code(plan)),
        Item("The final training states its settings and seeds", *_settings(plan, "retrain")),
        Item("The search states its settings and seeds", *_settings(plan, "search")),
        Item("All networks share data, split, space and training recipe", *_same_training(plan)),
        Item("All networks are evaluated by the same protocol", *_same_protocol(plan)),
        Item("Hardware and library versions are the same for all", *_same_environment(plan)),
        Item("Ablations show what each part contributes", *_ablations(plan.experiment)),
        Item("Methods are compared over time, not only at their end", *OVER_TIME),
        Item("The search is compared with random genotypes", *_random(plan.experiment)),
        Item("Everything is repeated with several seeds", *_repeated(plan)),
        Item("Tabular or surrogate benchmarks are used where possible", *BENCHMARK),
        Item("How settings were tuned, and its cost, is stated", *_tuning(plan.experiment)),
        Item("The time of the whole method is stated, not only of the search", *_time(plan)),
        Item("All details of the experiment are stated", *_details(plan)),
        Item("Test data play no part in choosing a genotype", *_choice(plan)),
    ]


def _results(plan: Plan, kinds: Iterable[str]) -> list[Result]:
    """Return the published results of some kinds, each once."""
    done = {stage.key: stage.result for kind in kinds for stage in plan.of_kind(kind) if stage.result}
    return list(done.values())


def _environments(plan: Plan, name: str) -> tuple[list[str], int]:
    """Return the different values of an entry of the environment, and how many results do not state it."""
    kinds = [kind for kind in KINDS if kind not in ("prepare", "picture")]
    values = [result.get("environment", {}).get(name) for result in _results(plan, kinds)]
    return list(dict.fromkeys(value for value in values if value)), values.count(None)


def _code(plan: Plan) -> Answered:
    codes, unknown = _environments(plan, "code")
    if not codes:
        return "open", "No result states its code yet."
    versions = f"msinet {', '.join(_environments(plan, 'msinet')[0])}, source {', '.join(codes)}"
    if len(codes) > 1 or unknown:
        older = f"; {unknown} older results do not state it" if unknown else ""
        return "partly", f"Results come from more than one state of the code: {versions}{older}."
    return "yes", f"All results come from one state of the code: {versions}. Publish it with the scores."


def _settings(plan: Plan, kind: str) -> Answered:
    stages = list(plan.of_kind(kind))
    if not stages:
        return "open", f"This experiment has no stage of the kind {kind}."
    seeds = sorted({int(stage.labels["seed"]) for stage in stages})
    return "yes", f"Each result holds its whole recipe; seeds {', '.join(map(str, seeds))}."


def _same_training(plan: Plan) -> Answered:
    """Compare the recipes within each source and domain. Alignments are a part of the network that is compared."""
    recipes: dict[tuple[Any, Any], dict[str, set[str]]] = {}
    for stage in plan.of_kind("retrain"):
        recipe = {name: value for name, value in stage.settings["recipe"].items() if "alignment" not in name}
        group = recipes.setdefault((stage.labels["source"], "hold_out" in stage.settings), {})
        group.setdefault(str(sorted(recipe.items())), set()).add(str(stage.labels["recipe"]))
    if not recipes:
        return "open", "This experiment trains no network."
    searched = [stage for stage in plan.of_kind("retrain") if stage.settings["network"] == "msinet"]
    spaces = sorted({str(stage.settings.get("space", {}).get("name", PAPER)) for stage in searched})
    if len(spaces) > 1:
        return "partly", f"Data and splits are the same, but there are several spaces: {', '.join(spaces)}."
    named = sorted({name for group in recipes.values() if len(group) > 1 for names in group.values() for name in names})
    if named:
        return "partly", f"Data and splits are the same, but there are several recipes: {', '.join(named)}."
    return "yes", "All networks of a source are trained on the same pictures with the same recipe."


def _same_protocol(plan: Plan) -> Answered:
    protocols: dict[Any, set[str]] = {}
    for stage in plan.of_kind("evaluate"):
        settings = {n: v for n, v in stage.settings.items() if n not in ("threads", "cameras")}
        protocols.setdefault((stage.labels["target"], stage.labels["domain"]), set()).add(str(sorted(settings.items())))
    if not protocols:
        return "open", "This experiment evaluates no network."
    if different := sorted({str(target) for (target, _), found in protocols.items() if len(found) > 1}):
        return "partly", f"Networks of different sources see pictures of different size on {', '.join(different)}."
    return "yes", "Each target has one protocol, one picture size and one kind of embedding."


def _same_environment(plan: Plan) -> Answered:
    found = {name: _environments(plan, name) for name in ("device", "torch", "python")}
    if not found["device"][0]:
        return "open", "No result states its device and versions yet."
    told = "; ".join(f"{name} {', '.join(values)}" for name, (values, _) in found.items())
    same = all(len(values) == 1 and not unknown for values, unknown in found.values())
    return ("yes", f"{told}.") if same else ("no", f"Results differ, or older ones do not state it: {told}.")


def _ablations(experiment: Experiment) -> Answered:
    axes = {
        "splits of the search": max(len(experiment.splits_of(source)) for source in experiment.sources),
        "alignments": len(experiment.alignments),
        "starts": len(experiment.starts),
        "baselines": len(experiment.networks),
    }
    varied = [f"{count} {name}" for name, count in axes.items() if count > (0 if name == "baselines" else 1)]
    if not varied:
        return "no", "Nothing is varied but genotypes and seeds: list several `splits`, `alignments` or `starts`."
    return "partly", f"Varied: {', '.join(varied)}. Whether these are the parts that matter is yours to say."


def _random(experiment: Experiment) -> Answered:
    if experiment.random_genotypes:
        return "yes", "Random genotypes are trained with the same recipe (`random_genotypes`)."
    if not experiment.splits:
        return "open", "There is no search in this experiment."
    return "no", "No random genotype is trained: give `random_genotypes`."


def _repeated(plan: Plan) -> Answered:
    experiment = plan.experiment
    counts = {"retraining": len(experiment.retrain_seeds)}
    if experiment.splits:
        counts["search"] = len(experiment.search_seeds)
    named = (f"{count} {name} seed{'s' * (count > 1)}" for name, count in counts.items())
    told = f"{', '.join(named)}."
    if min(counts.values()) >= FEW:
        return "yes", told
    return ("partly" if max(counts.values()) > 1 else "no"), f"{told} Fewer than {FEW} show hardly any spread."


def _tuning(experiment: Experiment) -> Answered:
    if experiment.tune:
        return "yes", f"The section `tune` states it: at most {experiment.tune.trials} trials on held-out identities."
    return "open", "The file states the settings that were used, but not how they were found."


def _time(plan: Plan) -> Answered:
    spent = {kind: sum(hours(result) for result in _results(plan, [kind]) if "seconds" in result) for kind in KINDS}
    told = ", ".join(f"{kind} {value:.2f} h" for kind, value in spent.items() if value)
    if not told:
        return "open", "Nothing has run yet."
    left = sum(1 for stage in plan.stages.values() if not stage.result)
    whole = f"{told}; {sum(spent.values()):.2f} h of one worker together"
    return ("partly", f"So far: {whole}. {left} stages are not done.") if left else ("yes", f"{whole}.")


def _details(plan: Plan) -> Answered:
    left = [stage for stage in plan.stages.values() if stage.lacks]
    if left:
        return "partly", f"{len(left)} stages lack data or weights, so they are not described by a result."
    return "yes", "`experiment.yaml` in MLflow holds every setting, and each result the specification of its key."


def _choice(plan: Plan) -> Answered:
    experiment = plan.experiment
    if experiment.selection:
        return "yes", "A genotype is chosen on pictures that no target holds (`selection`)."
    genotypes = {str(stage.labels["origin"]) for stage in plan.of_kind("evaluate")}
    if len(genotypes) < 2:
        return "yes", "There is one network only, so nothing is chosen."
    return "no", "Genotypes are compared on the targets only. To take the best is to choose on them: give `selection`."
