"""Tables that the command line prints, made from published results."""

from collections.abc import Sequence
from statistics import mean, stdev

from pipeline.plan.stage import Plan, Stage
from pipeline.results import scored_queries


def comparison(plan: Plan) -> str:
    """Return a table of networks × targets with mAP and rank-1 in percent, from the published evaluations.

    There is a row for each source and genotype or network. `found by` gives the splits and seeds of the searches that
    derived the genotype. A cell marked * is in-domain. For several retraining seeds a cell shows mean and deviation. If
    queries were skipped because they have no match, it also shows how many were scored.
    """
    experiment = plan.experiment
    targets = experiment.all_targets
    rows: dict[tuple[str, str], dict[str, list[Stage]]] = {}
    origins: dict[tuple[str, str], dict[str, None]] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result is None:
            continue
        row = (str(stage.labels["source"]), _network(plan, stage))
        rows.setdefault(row, {}).setdefault(str(stage.labels["target"]), []).append(stage)
        origins.setdefault(row, {})[str(stage.labels["origin"])] = None
    header = ["trained on", "genotype", "found by", *[f"{target}: mAP / rank-1" for target in targets]]
    body = [
        [*row, ", ".join(origins[row]), *[_cell(experiment.same_domain(row[0], t), cells.get(t, [])) for t in targets]]
        for row, cells in rows.items()
    ]
    return aligned([header, *body]) + "\nScores in percent. * marks in-domain scores; the others are cross-domain."


def _network(plan: Plan, stage: Stage) -> str:
    """Return the name of a genotype or baseline, with the alignment and the start if the experiment varies them."""
    assert stage.result is not None
    parts = [stage.result.get("genotype") or str(stage.labels["origin"])]
    if plan.experiment.alignments:
        parts.append(str(stage.labels["alignment"]))
    if len(plan.experiment.starts) > 1:
        parts.append(str(stage.labels["start"]))
    return " ".join(parts)


def _cell(in_domain: bool, stages: Sequence[Stage]) -> str:
    by_key = {stage.key: stage.result["metrics"] for stage in stages if stage.result}
    if not by_key:
        return "-"
    text = " / ".join(_percent([metrics[name] for metrics in by_key.values()]) for name in ("mAP", "rank1"))
    parts = dict.fromkeys(filter(None, map(scored_queries, by_key.values())))
    return text + "".join(f" ({part})" for part in parts) + (" *" if in_domain else "")


def _percent(values: Sequence[float]) -> str:
    text = f"{100 * mean(values):.1f}"
    return f"{text} ± {100 * stdev(values):.1f}" if len(values) > 1 else text


def overview(plan: Plan, failures: dict[str, str]) -> str:
    """Return a table of the stages with their state and key.

    Args:
        plan: A plan that was resolved against a workspace.
        failures: Message of the last failure, by stage name.
    """
    lines = [["stage", "state", "key"]]
    for stage in plan.stages.values():
        lines.append([stage.name, _state(stage, failures), stage.key or stage.lacks or "-"])
    return aligned(lines)


def _state(stage: Stage, failures: dict[str, str]) -> str:
    if stage.result:
        return "done"
    if stage.name in failures:
        return "failed"
    if stage.lacks:
        return "lacking"
    return "to run" if stage.key else "pending"


def summary(plan: Plan) -> str:
    """Return a table of how many stages of each kind are in which state, and what must be given first."""
    lines = [["kind", "stages", "done", "to run", "pending", "lacking"]]
    for kind in dict.fromkeys(stage.kind for stage in plan.stages.values()):
        stages = list(plan.of_kind(kind))
        done = {stage.key for stage in stages if stage.result}
        known = {stage.key for stage in stages if stage.key and not stage.result}
        lacking = [stage for stage in stages if stage.lacks]
        pending = len([stage for stage in stages if stage.key is None]) - len(lacking)
        lines.append([kind, str(len(stages)), str(len(done)), str(len(known)), _bound(pending), str(len(lacking))])
    needs = sorted({stage.lacks for stage in plan.stages.values() if stage.lacks})
    return "\n".join([aligned(lines), *needs])


def _bound(pending: int) -> str:
    # A genotype that two searches find is retrained once, so the exact number is known only after the searches.
    return f"up to {pending}" if pending else "0"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as aligned columns. The first row is the header, and a line is drawn under it."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])
