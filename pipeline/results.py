"""The data that stages return: results, reports of epochs, and how an attempt at a stage ended."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from msinet.statistics import QueryScores

# A published result, as `result.json` holds it.
Result = dict[str, Any]
# The numbers of one epoch.
Report = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """How far a stage is within an epoch.

    Attributes:
        epoch: The running epoch, counted from 0.
        epochs: Number of epochs of the whole stage.
        step: Steps of the running epoch that are done, at least 1.
        steps: Number of steps of the running epoch.
        seconds: Time that the done steps took.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    seconds: float


def scored_queries(metrics: Mapping[str, float]) -> str:
    """Return `1 of 12 queries` if the scores leave out queries because they have no match, otherwise an empty text."""
    asked, scored = metrics.get("num_queries", 0), metrics.get("num_valid_queries", 0)
    return f"{scored:,.0f} of {asked:,.0f} queries" if scored < asked else ""


def read_query_scores(path: Path) -> "QueryScores | None":
    """Return the scores of an evaluation's queries from its file, or None if the file is damaged."""
    import pyarrow as pa  # most commands need no tables
    import pyarrow.parquet as pq

    from msinet.statistics import QueryScores

    try:
        there = pq.read_schema(path).names
        columns = pq.read_table(path, columns=[name for name in there if name not in ("path", "camid")])
        return QueryScores.from_columns({name: columns[name].to_numpy() for name in columns.column_names})
    except (pa.ArrowException, KeyError, OSError):
        return None


@dataclass(frozen=True)
class Failure:
    """What went wrong in an attempt at a stage.

    Attributes:
        message: The reason, in one sentence or more.
        traceback: The traceback if a Python exception was the reason, else empty.
        log: The end of the process's log.
        retry: Which retry may help: `again`, `alone` on a whole GPU, or None.
        time: Time of the failure in seconds since the epoch; None until the failure is recorded.
    """

    message: str
    traceback: str = ""
    log: str = ""
    retry: Literal["again", "alone"] | None = None
    time: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "Failure":
        """Read what `to_json` returned, also if an older version with fewer values wrote it.

        Raises:
            ValueError: The values have another shape.
        """
        known = values if isinstance(values, dict) else {}
        texts = [known.get("message"), known.get("traceback", ""), known.get("log", "")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"a failure must be a mapping with a message, but got {values!r:.100}.")
        return cls(**{name: value for name, value in known.items() if name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Done:
    """The stage has a result."""

    result: Result


@dataclass(frozen=True)
class Failed:
    """The attempt has failed."""

    failure: Failure


@dataclass(frozen=True)
class Stopped:
    """The process was asked to end, and has saved its state."""


@dataclass(frozen=True)
class Held:
    """Another driver is running the stage.

    Attributes:
        by: Name of that driver, if known.
    """

    by: str | None


# How an attempt at a stage ended.
Ended = Done | Failed | Stopped | Held
