"""The loss of Ray itself: Ray's own functions wait for ever when this machine's part of it has died."""

import time

import ray

from pipeline.cluster.ray_private import ask_cluster
from pipeline.errors import ClusterLost

EVERY, PATIENCE = 3.0, 2.0  # seconds between two questions, and for an answer
SILENCE = 30.0  # seconds without an answer after which the cluster is lost; Ray ends this process after 60


class Pulse:
    """A regular question to the head of the connected cluster, whether this process's node is alive."""

    def __init__(self) -> None:
        context = ray.get_runtime_context()
        self._head, self._node = context.gcs_address, context.get_node_id()
        self._next = 0.0
        self._answered = time.monotonic()

    def require(self) -> None:
        """Ask, unless that was done a moment ago.

        Raises:
            ClusterLost: The node has died, or the head has not answered for too long.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        try:
            alive = ask_cluster(self._head, PATIENCE, [self._node])
        except OSError as error:
            if now - self._answered > SILENCE:
                raise ClusterLost(
                    f"the head of the Ray cluster has not answered for {now - self._answered:.0f} s ({error}): "
                    "run the same command again to continue."
                ) from None
            return
        if alive != [True]:
            raise ClusterLost("Ray on this machine has died: run the same command again to continue.")
        self._answered = time.monotonic()
