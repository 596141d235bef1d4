"""Join a Ray cluster or start Ray on this machine, and check that it has the resources that stages ask for."""

import logging
import os
import platform
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray

from pipeline.cluster.ray_private import ask_cluster, find_cluster, stay_on_loopback
from pipeline.cluster.token import protect_token, provide_token
from pipeline.config.resources import Resources, Share, Workers
from pipeline.errors import RequestError
from pipeline.plan.kinds import KINDS
from pipeline.plan.memory import Need, shown

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"([^\s:/]+|\[[\da-fA-F:.]+\]):\d{1,5}")
PATIENCE = 6.0  # seconds for a connection to a cluster, and again for its answer


def connect(
    address: str | None, resources: Resources, needs: Sequence[Need] = (), workers: Workers | None = None
) -> None:
    """Join the cluster at `address` (or RAY_ADDRESS), else start Ray on this machine, on loopback.

    Args:
        address: Address of a cluster's head.
        resources: What stages occupy.
        needs: The memory that the largest stages take on a CPU.
        workers: How many processes work on one stage, each with the share of its kind; by default one.

    Raises:
        RequestError: There is no cluster at the address, Ray cannot be started, or this machine lacks what a stage asks
            for. (A cluster may grow, so there the stage waits.)
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        _join(address)
        _warn_without_gpu(resources)
        if too_large := _too_large(resources, needs):
            log.warning("no machine of the cluster has the memory that a stage needs, so it waits: %s", too_large)
    else:
        _start()
        _require_resources(resources, workers)
        if too_large := _too_large(resources, needs):
            raise RequestError(f"a stage must fit into the memory of this machine, but {too_large}")
        _warn_of_slow_bf16(resources, needs)


def _join(address: str) -> None:
    if address != "auto" and not ADDRESS.fullmatch(address):
        raise RequestError(
            "the address of a Ray cluster must be that of its head without a protocol, such as HOST:6379, but got "
            f"{address!r} (--address, RAY_ADDRESS)."
        )
    protect_token()
    try:
        found = find_cluster(address)
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
        ask_cluster(found, PATIENCE)
    except (PermissionError, ray.exceptions.AuthenticationError) as error:
        raise RequestError(
            f"the token of this machine must be that of the Ray cluster at {address}, but is not: "
            f"{_first_sentence(error)} (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN or ~/.ray/auth_token)."
        ) from error
    except OSError as error:
        raise RequestError(
            f"a Ray cluster must answer at {address}, but none does: {_first_sentence(error)} (--address, RAY_ADDRESS)."
        ) from error
    try:
        ray.init(address=address, log_to_driver=False)
    except Exception as error:  # Ray raises many types here
        raise RequestError(
            f"this machine must be able to join the Ray cluster at {address}, but cannot: {_first_sentence(error)} "
            "(--address, RAY_ADDRESS)."
        ) from error


def _start() -> None:
    stay_on_loopback()
    provide_token()
    try:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    except Exception as error:  # Ray raises many types here
        ray.shutdown()  # the part that has started
        raise RequestError(
            f"Ray must be able to start on this machine, but failed: {_first_sentence(error)} (RAY_TMPDIR, a folder "
            "with a short path that can be written)."
        ) from error


def _first_sentence(error: Exception) -> str:
    return re.split(r"\.+(?:\s|$)|\n", str(error).strip())[0] or repr(error)


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


def _require_resources(resources: Resources, workers: Workers | None) -> None:
    there = ray.cluster_resources()
    for kind in KINDS:
        number: int = getattr(workers, kind, 1)
        for name, asked in share_of(resources, kind).items():
            unit = name.removeprefix("num_")
            found = there.get(unit[:-1].upper(), 0)
            if number * asked > found:
                times = "" if number == 1 else f" for each of the {number} workers (workers.{kind})"
                raise RequestError(
                    f"a stage must not ask for more than this machine has, but resources.{kind}.{unit} is {asked:g}"
                    f"{times}, and this machine has {found:g}."
                )


def _too_large(resources: Resources, needs: Sequence[Need]) -> str | None:
    """Return what is wrong if a stage on a CPU needs more memory than any machine has for Ray, else None."""
    on_cpus = [need for need in needs if not share_of(resources, need.kind)["num_gpus"]]
    if on_cpus:
        largest = max(on_cpus, key=lambda need: need.memory)
        there = max(node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"])
        if largest.memory > there:
            needed = f"`{largest.name}` needs {shown(largest.memory)}"
            return f"{needed}, and {shown(there)} can be used: {largest.remedy}."
    return None


def _warn_of_slow_bf16(resources: Resources, needs: Sequence[Need]) -> None:
    """Warn if trainings use bf16 on a processor whose instructions PyTorch's bf16 kernels cannot use.

    On a core of a processor with AVX2 alone, a step of MSINet on 32 pictures of 64×32 took 4.6 s in bf16 and 0.37 s in
    float32.
    """
    slow = [need for need in needs if need.precision == "bf16" and not share_of(resources, need.kind)["num_gpus"]]
    if slow and _lacks_bf16():
        log.warning(
            "this processor has no instructions for bf16, so bf16 is several times slower than float32 here (%s). "
            "Set `precision: float32` in these recipes.",
            ", ".join(need.kind for need in slow),
        )


def _lacks_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has neither AVX-512 nor Arm's bf16; False if the system does not say."""
    needed = {"x86_64": "avx512vl", "aarch64": "bf16"}.get(platform.machine())
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), None)
    return needed is not None and flags is not None and needed not in flags


def share_of(
    resources: Resources, kind: str, memory: Mapping[str, int] | None = None, *, alone: bool = False
) -> dict[str, float]:
    """Return what Ray reserves for a stage: `num_cpus`, `num_gpus`, and `memory` in bytes if the stage is on a CPU.

    `auto` is looked up each time, because a cluster may grow.

    Args:
        resources: Resources of the experiment.
        kind: Kind of the stage.
        memory: Bytes by kind, see `pipeline.plan.memory.reserved_memory`; by default no memory is reserved.
        alone: Whether the stage needs a whole GPU, because it found no room on a part of one.
    """
    share: Share = getattr(resources, kind)
    gpus = share.gpus
    if gpus == "auto":
        gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
    reserved = {"num_cpus": share.cpus, "num_gpus": max(1.0, gpus) if alone else gpus}
    if memory and kind in memory and not reserved["num_gpus"]:
        reserved["memory"] = memory[kind]
    return reserved
