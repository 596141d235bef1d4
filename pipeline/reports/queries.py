"""The scores of each query of the published evaluations, which the intervals of reports are made of."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.plan.kinds import PER_QUERY
from pipeline.plan.stage import Stage
from pipeline.results import read_query_scores
from pipeline.storage.workspace import Workspace

if TYPE_CHECKING:
    from msinet.statistics import QueryScores

Queries = Callable[[Stage], "QueryScores | None"]
"""Function from an evaluation to the scores of its queries, None if it is not done, or its file is gone or damaged."""


def queries_of(workspace: Workspace) -> Queries:
    """Return the function that reads the scores of an evaluation's queries from a workspace. Each file is read once."""
    read: dict[str, QueryScores | None] = {}

    def queries(stage: Stage) -> "QueryScores | None":
        if stage.result is None:
            return None
        key = str(stage.result["key"])
        if key not in read:
            path = workspace.file(stage.result, PER_QUERY)
            read[key] = None if path is None else read_query_scores(path)
        return read[key]

    return queries
