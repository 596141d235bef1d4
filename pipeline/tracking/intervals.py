"""The intervals of an evaluation's scores, as its run in MLflow shows them."""

from pipeline.plan.kinds import KINDS, PER_QUERY
from pipeline.results import Result, read_query_scores
from pipeline.storage.workspace import Workspace

SCORES = ("mAP", "rank1", "rank5", "rank10", "mINP")


def score_intervals(workspace: Workspace, kind: str, result: Result) -> tuple[dict[str, float], str]:
    """Return the 95 % intervals of the scores of a result, over the identities of its queries.

    Args:
        workspace: Workspace that holds the result's files.
        kind: Kind of the stage.
        result: The published result.

    Returns:
        The ends as fractions, named `mAP_low` and `mAP_high`; and the scores with their intervals as a text for people.
        Both are empty for results without query scores.
    """
    path = workspace.file(result, PER_QUERY) if PER_QUERY in KINDS[kind].artifacts else None
    queries = read_query_scores(path) if path else None
    if queries is None or len(queries.names) < 2:
        return {}, ""
    from msinet.statistics import score_interval

    found = {name: score_interval([queries], name) for name in SCORES if queries.has(name)}
    ends = {f"{name}_{end}": value for name, i in found.items() for end, value in (("low", i.low), ("high", i.high))}
    shown = [f"{name} {100 * i.estimate:.1f} ± {100 * i.half_width:.1f}" for name, i in found.items()]
    meaning = "percent; ±: half of the 95 % interval over the identities of the queries, for this one training"
    return ends, f"{', '.join(shown)} ({meaning})"
