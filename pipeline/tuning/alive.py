"""The end of an outer loop whose Ray has died: Ray Tune itself would wait for ever."""

from typing import Any

from ray import tune

from pipeline.cluster.pulse import Pulse


class RequireRay(tune.Callback):
    """A callback of Ray Tune that asks before each step whether Ray is alive.

    Raises:
        ClusterLost: Ray on this machine has died, or the cluster's head does not answer.
    """

    def __init__(self) -> None:
        self._pulse = Pulse()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ask Ray, unless that was done a moment ago."""
        self._pulse.require()
