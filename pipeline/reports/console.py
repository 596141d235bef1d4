"""Tables that the command line prints, made from published results."""

from collections.abc import Collection, Sequence
from statistics import mean

from pipeline.plan.stage import Plan, Stage
from pipeline.reports.intervals import MEANING, Intervals, no_intervals, plus_minus
from pipeline.reports.labels import network_of
from pipeline.results import scored_queries


def comparison(plan: Plan, intervals: Intervals = no_intervals) -> str:
    """Return a table of networks × targets with mAP and rank-1 in percent, from the published evaluations.

    There is a row for each source and genotype or network. `found by` gives the splits and seeds of the searches that
    derived the genotype. A cell marked * is in-domain. A cell shows the mean over retraining seeds, with its interval
    if that is known. If queries were skipped because they have no match, it also shows how many were scored.

    Args:
        plan: A plan that was resolved against a workspace.
        intervals: Function that computes the intervals of scores.
    """
    experiment = plan.experiment
    targets = experiment.all_targets
    rows: dict[tuple[str, str], dict[str, list[Stage]]] = {}
    origins: dict[tuple[str, str], dict[str, None]] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result is None or not stage.on_target:
            continue
        row = (str(stage.labels["source"]), network_of(plan, stage))
        rows.setdefault(row, {}).setdefault(str(stage.labels["target"]), []).append(stage)
        origins.setdefault(row, {})[str(stage.labels["origin"])] = None
    header = ["trained on", "genotype", "found by", *[f"{target}: mAP / rank-1" for target in targets]]
    body = [
        [
            *row,
            ", ".join(origins[row]),
            *[_cell(experiment.same_domain(row[0], t), cells.get(t, []), intervals) for t in targets],
        ]
        for row, cells in rows.items()
    ]
    notes = "Scores in percent. * marks in-domain scores; the others are cross-domain."
    explained = f"\n{MEANING}" if any("±" in cell for line in body for cell in line) else ""
    return f"{aligned([header, *body])}\n{notes}{explained}"


def _cell(in_domain: bool, stages: Sequence[Stage], intervals: Intervals) -> str:
    done = list({stage.key: stage for stage in stages if stage.result}.values())
    metrics = [stage.result["metrics"] for stage in done if stage.result]
    if not metrics:
        return "-"
    text = " / ".join(
        f"{100 * mean(scores[name] for scores in metrics):.1f}{plus_minus(intervals(done, name))}"
        for name in ("mAP", "rank1")
    )
    parts = dict.fromkeys(filter(None, map(scored_queries, metrics)))
    return text + "".join(f" ({part})" for part in parts) + (" *" if in_domain else "")


STATES = ("done", "failed", "to run", "pending", "lacking")
Groups = dict[tuple[str, ...], list[Stage]]


def every_stage(plan: Plan, failed: Collection[str] = ()) -> str:
    """Return a table of the stages with their state and key.

    Args:
        plan: A plan that was resolved against a workspace.
        failed: Names of the stages that failed and were not done since.
    """
    lines = [["stage", "state", "key"]]
    for stage in plan.stages.values():
        lines.append([stage.name, _state(stage, failed), stage.key or stage.lacks or "-"])
    return aligned(lines)


def overview(plan: Plan, failed: Collection[str] = ()) -> str:
    """Return a table of how many stages are in which state, by source, split or network, and kind of stage.

    Args:
        plan, failed: See `every_stage`.
    """
    groups: dict[tuple[str, str], dict[str, list[Stage]]] = {}
    for stage in plan.stages.values():
        labels = stage.labels
        source, network = labels.get("source") or labels.get("dataset"), labels.get("split") or labels.get("origin")
        if labels.get("supervision") == "softmax":
            network = f"{network} softmax"
        if "scheme" in labels:
            network = f"{network} {labels['scheme']}"
        kinds = groups.setdefault((str(source or "-"), str(network or "-")), {})
        kinds.setdefault(stage.kind, []).append(stage)
    rows: Groups = {(*group, kind): stages for group, kinds in groups.items() for kind, stages in kinds.items()}
    return _counted(("source", "split or network", "kind"), rows, failed)


def summary(plan: Plan, failed: Collection[str] = ()) -> str:
    """Return a table of how many stages of each kind are in which state, and what must be given first.

    Args:
        plan, failed: See `every_stage`.
    """
    groups: Groups = {}
    for stage in plan.stages.values():
        groups.setdefault((stage.kind,), []).append(stage)
    needs = sorted({stage.lacks for stage in plan.stages.values() if stage.lacks})
    return "\n".join([_counted(("kind",), groups, failed), *needs])


def _counted(names: Sequence[str], groups: Groups, failed: Collection[str]) -> str:
    """Return a table with a line for each group: how many stages it has, and how many different ones in each state."""
    shown = [state for state in STATES if failed or state != "failed"]
    lines = [[*names, "stages", *shown]]
    for group, stages in groups.items():
        distinct: dict[str, set[str]] = {state: set() for state in shown}
        for stage in stages:
            distinct[_state(stage, failed)].add(stage.key or stage.name)
        lines.append([*group, str(len(stages)), *(_bound(state, len(distinct[state])) for state in shown)])
    return aligned(lines)


def _state(stage: Stage, failed: Collection[str]) -> str:
    if stage.result:
        return "done"
    if stage.name in failed:
        return "failed"
    if stage.lacks:
        return "lacking"
    return "to run" if stage.key else "pending"


def _bound(state: str, count: int) -> str:
    # A genotype that two searches find is retrained once, so the exact number is known only after the searches.
    return f"up to {count}" if count and state == "pending" else str(count)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as aligned columns. The first row is the header, and a line is drawn under it."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])
