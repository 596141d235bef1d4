"""Join a Ray cluster or start Ray on this machine, and check that it has the resources that stages ask for."""

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
        RequestError: This machine lacks what a stage asks for. (A cluster may grow, so there the stage waits.)
    """
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address or "auto", log_to_driver=False)
        _warn_without_gpu(resources)
    else:
        stay_on_loopback()
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        _require_resources(resources)


def _warn_without_gpu(resources: Resources) -> None:
    """Warn if stages have `gpus: auto` and the cluster has no GPU.

    `auto` asks for a GPU only where there is one. So a cluster that grows on demand never adds a GPU for such a stage.
    """
    kinds = [kind for kind in KINDS if getattr(resources, kind).gpus == "auto"]
    if kinds and not ray.cluster_resources().get("GPU"):
        log.warning(
            "the cluster has no GPU, and while it has none, stages with `gpus: auto` run on CPUs, on any machine (%s). "
            "If the cluster can add GPUs, give the number that a stage needs, such as resources.%s.gpus: 1.",
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
                    f"a stage must not ask for more than this machine has, but resources.{kind}.{name} is {asked:g}, "
                    f"and this machine has {found:g}."
                )


def share_of(resources: Resources, kind: str, *, alone: bool = False) -> dict[str, float]:
    """Return what Ray reserves for a stage: `num_cpus` and `num_gpus`.

    `auto` is looked up each time, because a cluster may grow.

    Args:
        resources: Resources of the experiment.
        kind: Kind of the stage.
        alone: Whether the stage needs a whole GPU, because it found no room on a part of one.
    """
    share: Share = getattr(resources, kind)
    gpus = share.gpus
    if gpus == "auto":
        gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
    return {"num_cpus": share.cpus, "num_gpus": max(1.0, gpus) if alone else gpus}
