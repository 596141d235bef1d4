"""Join a Ray cluster or start Ray on this machine, and see that stages find what they ask for."""

import logging
import os

import ray

from pipeline.cluster.ray_private import stay_on_loopback
from pipeline.config.parts import Resources, Share
from pipeline.errors import RequestError
from pipeline.plan.kinds import KINDS

log = logging.getLogger(__name__)


def connect(address: str | None, resources: Resources) -> None:
    """Join the cluster at `address` (or RAY_ADDRESS), else start Ray on this machine, on loopback.

    Raises:
        RequestError: This machine has not what a stage asks for. (A cluster may grow: there such a stage waits.)
    """
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address or "auto", log_to_driver=False)
        _warn_without_gpu(resources)
    else:
        stay_on_loopback()
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        _require_resources(resources)


def _warn_without_gpu(resources: Resources) -> None:
    """A cluster that grows by what is asked for gets no GPU from `auto`, which asks for one only where there is one."""
    kinds = [kind for kind in KINDS if getattr(resources, kind).gpus == "auto"]
    if kinds and not ray.cluster_resources().get("GPU"):
        log.warning(
            "the cluster has no GPU, and while it has none, stages with `gpus: auto` run on CPUs, on any machine "
            "(%s): name their shares if it can grow by GPUs, such as resources.%s.gpus: 1.",
            ", ".join(kinds),
            kinds[0],
        )


def _require_resources(resources: Resources) -> None:
    there = ray.cluster_resources()
    for kind in KINDS:
        share: Share = getattr(resources, kind)
        for name, asked in (("cpus", share.cpus), ("gpus", share.gpus)):
            found = there.get(name[:-1].upper(), 0)
            if asked != "auto" and asked > found:
                raise RequestError(
                    f"a stage may ask for what this machine has, but resources.{kind}.{name} is {asked:g} "
                    f"and there are {found:g}."
                )


def share_of(resources: Resources, kind: str, *, alone: bool = False) -> dict[str, float]:
    """Return what Ray reserves for a stage: `num_cpus` and `num_gpus`.

    `auto` is looked up each time, since a cluster grows.

    Args:
        resources: Of the experiment.
        kind: Of the stage.
        alone: Whether the stage needs a whole GPU, because it found no room on a part of one.
    """
    share: Share = getattr(resources, kind)
    gpus = share.gpus
    if gpus == "auto":
        gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
    return {"num_cpus": share.cpus, "num_gpus": max(1.0, gpus) if alone else gpus}
