"""The runs of one experiment in MLflow. Each is found by a tag, made once and never doubled."""

import errno
from typing import TYPE_CHECKING

from pipeline.plan.stage import content_hash
from pipeline.storage.workspace import Workspace
from pipeline.tracking.client import Client

if TYPE_CHECKING:
    from mlflow.entities import Run

KEY_TAG, SPEC_TAG, SYNCED_TAG, WEIGHTS_TAG = "msinet.key", "msinet.spec", "msinet.synced", "msinet.files"
PARENT_TAG, NAME_TAG, FAILURE_TAG = "mlflow.parentRunId", "mlflow.runName", "failure"
# Errors of a workspace that this user may only read. Nobody else then claims runs in this user's MLflow.
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
# Tags of a run that say what it holds. A run that takes its place holds nothing yet.
OF_CONTENT = (SYNCED_TAG, FAILURE_TAG, "kind")


class Runs:
    """The runs of one experiment in MLflow.

    Args:
        client: MLflow's client.
        experiment_id: The experiment's id in MLflow.
        workspace: Workspace that says which of several runs counts.
        uri: MLflow's address.
    """

    def __init__(self, client: Client, experiment_id: str, workspace: Workspace, uri: str) -> None:
        self.client, self.experiment_id, self.store = client, experiment_id, workspace.store
        # The address stands without the name and the password that it may contain.
        self._claims = f"mlflow/{content_hash([uri.rpartition('@')[2], experiment_id])}"

    def only(
        self,
        tag: str,
        value: str,
        name: str,
        tags: dict[str, str] | None = None,
        *,
        began: int | None = None,
        exact: bool = False,
    ) -> "Run":
        """Return the only run whose tag has this value. Make it if there is none, and delete duplicates.

        There are duplicates if two drivers made a run at the same moment, or if a server made a run but its answer was
        lost, because the request or this whole method was then repeated.

        Args:
            tag, value: The tag that identifies the run.
            name, tags: Name and more tags of a run that is made.
            began: When a run that is made began, in milliseconds since the epoch; by default now.
            exact: Whether a run that began at another time is replaced, because MLflow cannot change this time.
        """
        found = self._with(tag, value)
        fitting = [run for run in found if not exact or found[run].info.start_time == began]
        if not fitting:
            made = self._make(name, {**(tags or {}), tag: value}, began, found[min(found)] if found else None)
            found = {made.info.run_id: made, **self._with(tag, value)}
            fitting = [run for run in found if not exact or found[run].info.start_time == began]
        counts = self._claim(f"{value}-{began}" if exact else value, min(fitting))
        for other in found.keys() - {counts}:
            self.client.delete_run(other)
        return found.get(counts) or self.client.get_run(counts)

    def is_there(self, run: str) -> bool:
        """Return whether a run exists and is not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            found: bool = self.client.get_run(run).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return found

    def running(self) -> "list[Run]":
        """Return all runs that MLflow shows as running."""
        found: list[Run] = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'")
        return found

    def _with(self, tag: str, value: str) -> "dict[str, Run]":
        """Return all runs whose tag has this value, except deleted ones."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'")
        return {run.info.run_id: run for run in found}

    def _make(self, name: str, tags: dict[str, str], began: int | None, replaced: "Run | None") -> "Run":
        """Make a run. It keeps the name of the run that it replaces, and the tags that people have given to it."""
        if replaced is not None:
            name = replaced.info.run_name
            kept = {n: value for n, value in replaced.data.tags.items() if n not in (*OF_CONTENT, NAME_TAG)}
            tags = {**kept, **tags}
        made: Run = self.client.create_run(self.experiment_id, start_time=began, run_name=name, tags=tags)
        return made

    def _claim(self, value: str, run: str) -> str:
        """Return the run that counts: the one claimed first for this value, if it still exists, else this one."""
        place = f"{self._claims}/{value}"
        try:
            first = self.store.read(place)
            if first is None and self.store.create(place, run.encode()):
                return run
            claimed = (first or self.store.read(place) or b"").decode()
            if claimed == run or (claimed and self.is_there(claimed)):
                return claimed
            self.store.replace(place, run.encode())  # the claimed run was in a database that no longer exists
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
        return run
