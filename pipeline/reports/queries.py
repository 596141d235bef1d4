"""The scores of each query of the published evaluations, which the intervals of reports are made of."""

from collections.abc import Callable

from msinet.statistics import QueryScores
from pipeline.plan.kinds import PER_QUERY
from pipeline.plan.stage import Stage
from pipeline.storage.workspace import Workspace

Queries = Callable[[Stage], QueryScores | None]
"""Function from an evaluation to the scores of its queries, None if it is not done or its file is gone."""


def queries_of(workspace: Workspace) -> Queries:
    """Return the function that reads the scores of an evaluation's queries from a workspace. Each file is read once."""
    read: dict[str, QueryScores | None] = {}

    def queries(stage: Stage) -> QueryScores | None:
        if stage.result is None:
            return None
        key = str(stage.result["key"])
        if key not in read:
            path = workspace.file(stage.result, PER_QUERY)
            read[key] = None if path is None else _read(path)
        return read[key]

    return queries


def _read(path: object) -> QueryScores:
    import pyarrow.parquet as pq  # most commands need no tables

    columns = pq.read_table(path)
    return QueryScores.from_columns({name: columns[name].to_pylist() for name in columns.column_names})
