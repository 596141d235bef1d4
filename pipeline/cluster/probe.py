"""The device of the measurements, which is a part of their keys: a worker on the cluster names it."""

import logging
import time

import ray

from pipeline.cluster.connect import share_of
from pipeline.cluster.pulse import Pulse
from pipeline.cluster.worker import probe_device
from pipeline.config.resources import Resources
from pipeline.errors import RequestError

log = logging.getLogger(__name__)

SILENCE = 60.0  # seconds without a free worker, after which people are told


class Probe:
    """The question which device a worker of the measurements sees. The worker may have to wait for a place.

    Args:
        resources: Resources of the experiment.
    """

    def __init__(self, resources: Resources) -> None:
        self._share = share_of(resources, "measure")
        self._since: float | None = time.monotonic()  # None when people were told
        self._asked = probe_device.options(**self._share).remote()

    def answer(self, timeout: float = 0.0) -> str | None:
        """Return the name of the device, or None if no worker has answered within `timeout` seconds.

        Raises:
            RequestError: A worker cannot name its device.
        """
        ended, _ = ray.wait([self._asked], timeout=timeout)
        if not ended:
            self._tell()
            return None
        try:
            device: str = ray.get(self._asked)
        except ray.exceptions.RayTaskError as error:
            raise RequestError(f"a worker must be able to name its device, but cannot: {error.cause}") from error
        except ray.exceptions.RayError:  # the worker was lost
            self._asked = probe_device.options(**self._share).remote()
            return None
        return device

    def wait(self) -> str:
        """Return the name of the device when a worker has answered.

        Raises:
            RequestError: A worker cannot name its device.
            ClusterLost: Ray has died meanwhile.
        """
        pulse = Pulse()
        while (device := self.answer(1.0)) is None:
            pulse.require()
        return device

    def _tell(self) -> None:
        if self._since is not None and time.monotonic() - self._since > SILENCE:
            self._since = None
            cpus, gpus = self._share["num_cpus"], self._share["num_gpus"]
            log.warning(
                "the measurements wait for a place with %g CPUs and %g GPUs that is free (resources.measure).",
                cpus,
                gpus,
            )
