"""Finds keys of the files of `clusters/` that whoever reads them does not know."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import botocore.validate
import jsonschema  # type: ignore[import-untyped]

from support.clusters import MANAGED, MANIFESTS, prepared

# A wrong key is found by Ray's own schema (the launcher's files), by EC2's request shape (machines on AWS) and by these
# tables of the keys that are used (Google, Kubernetes, SkyPilot): what is not in a table must be looked up and added.
# A table is {key: table}, [table of every item], or the type of a value; `dict` lets any keys through.
_RESOURCES = {"requests": dict, "limits": dict}
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": bool,
    "readOnlyRootFilesystem": bool,
    "capabilities": {"drop": [str]},
}
_CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str, "value": str}],
    "ports": [{"containerPort": int, "name": str}],
    "readinessProbe": {"httpGet": {"path": str, "port": str}},
    "resources": _RESOURCES,
    "securityContext": _CONTAINER_SECURITY,
    "volumeMounts": [{"name": str, "mountPath": str}],
}
_POD_TEMPLATE = {
    "metadata": {"labels": dict},
    "spec": {
        "automountServiceAccountToken": bool,
        "enableServiceLinks": bool,
        "nodeSelector": dict,
        "securityContext": {
            "runAsNonRoot": bool,
            "runAsUser": int,
            "runAsGroup": int,
            "fsGroup": int,
            "seccompProfile": {"type": str},
        },
        "tolerations": [{"key": str, "operator": str, "effect": str}],
        "containers": [_CONTAINER],
        "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}, "emptyDir": dict}],
    },
}
_METADATA = {"name": str, "labels": dict}
KUBERNETES: dict[str, Any] = {
    "RayJob": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "entrypoint": str,
            "submissionMode": str,
            "shutdownAfterJobFinishes": bool,
            "ttlSecondsAfterFinished": int,
            "backoffLimit": int,
            "rayClusterSpec": {
                "rayVersion": str,
                "authOptions": {"mode": str},
                "enableInTreeAutoscaling": bool,
                "autoscalerOptions": {
                    "version": str,
                    "idleTimeoutSeconds": int,
                    "resources": _RESOURCES,
                    "securityContext": _CONTAINER_SECURITY,
                },
                "headGroupSpec": {"serviceType": str, "rayStartParams": dict, "template": _POD_TEMPLATE},
                "workerGroupSpecs": [
                    {
                        "groupName": str,
                        "replicas": int,
                        "minReplicas": int,
                        "maxReplicas": int,
                        "rayStartParams": dict,
                        "template": _POD_TEMPLATE,
                    }
                ],
            },
        },
    },
    "PersistentVolumeClaim": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {"storageClassName": str, "accessModes": [str], "resources": {"requests": {"storage": str}}},
    },
    "Deployment": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "replicas": int,
            "strategy": {"type": str},
            "selector": {"matchLabels": dict},
            "template": _POD_TEMPLATE,
        },
    },
    "Service": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {"type": str, "selector": dict, "ports": [{"name": str, "port": int, "targetPort": str}]},
    },
    "NetworkPolicy": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "podSelector": {"matchLabels": dict},
            "policyTypes": [str],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": dict}}], "ports": [{"protocol": str, "port": int}]},
            ],
        },
    },
}
API_VERSIONS = {
    "RayJob": "ray.io/v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}
GOOGLE_MACHINE = {
    "machineType": str,
    "disks": [
        {
            "boot": bool,
            "autoDelete": bool,
            "type": str,
            "initializeParams": {"diskSizeGb": int, "diskType": str, "sourceImage": str},
        }
    ],
    "networkInterfaces": [{"subnetwork": str, "accessConfigs": [{"name": str, "type": str}]}],
    "metadata": {"items": [{"key": str, "value": str}]},
    "labels": dict,
    "serviceAccounts": [{"email": str, "scopes": [str]}],
    "scheduling": {
        "provisioningModel": str,
        "instanceTerminationAction": str,
        "onHostMaintenance": str,
        "automaticRestart": bool,
    },
}


SKYPILOT = {
    "name": str,
    "workdir": str,
    "resources": {
        "infra": str,
        "accelerators": str,
        "cpus": str,
        "memory": str,
        "disk_size": int,
        "use_spot": bool,
        "job_recovery": {"max_restarts_on_errors": int},
    },
    "envs": dict,
    "setup": str,
    "run": str,
}


def strangers(value: Any, table: Any, path: str = "") -> Iterator[str]:
    """Yield dotted names of what a table does not know, or knows with another type."""
    if isinstance(table, dict) and isinstance(value, dict):
        for key, item in value.items():
            if key in table:
                yield from strangers(item, table[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is unknown"
    elif isinstance(table, list) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from strangers(item, table[0], f"{path}[{index}]")
    elif type(value) is not table:
        yield f"{path} is a {type(value).__name__}"


def problems(name: str, content: Any) -> list[str]:
    """Return everything that is wrong with the keys of a file."""
    if name in MANIFESTS:
        return [problem for document in content for problem in manifest_problems(document)]
    if name == MANAGED:
        return list(strangers(content, SKYPILOT))
    try:
        config = prepared(content)
    except (jsonschema.ValidationError, ValueError) as error:
        return [str(error)]
    machines = [node["node_config"] for node in config["available_node_types"].values()]
    check = amazon_problems if name == "aws.yaml" else google_problems
    return [problem for machine in machines for problem in check(machine)]


def manifest_problems(document: Any) -> list[str]:
    """Return what Kubernetes or KubeRay does not take."""
    kind = document.get("kind")
    if API_VERSIONS.get(kind) != document.get("apiVersion"):
        return [f"{kind} of {document.get('apiVersion')}"]
    return list(strangers(document, KUBERNETES[kind]))


def amazon_problems(machine: dict[str, Any]) -> list[str]:
    """Return what EC2's RunInstances does not take."""
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = botocore.validate.ParamValidator().validate({**machine, "MinCount": 1, "MaxCount": 1}, shape)
    return report.generate_report().splitlines()


def google_problems(machine: dict[str, Any]) -> list[str]:
    """Return what the table of Google's machines does not know."""
    return list(strangers(machine, GOOGLE_MACHINE))
