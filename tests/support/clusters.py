"""The files of `clusters/` and their page, as tests read them."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
README = (CLUSTERS / "README.md").read_text(encoding="utf-8")
LAUNCHERS = ["aws.yaml", "gcp.yaml"]
MANIFESTS = ["kuberay.yaml", "kuberay_base.yaml"]
MANAGED = "skypilot.yaml"
ROLE_OF_WORKERS = "# IamInstanceProfile: {Name: msinet-worker}"  # in aws.yaml, for a workspace in a bucket


def load(name: str) -> Any:
    """Return a launcher's file, or the list of a manifest's documents."""
    documents = list(yaml.safe_load_all((CLUSTERS / name).read_text(encoding="utf-8")))
    return documents if name in MANIFESTS else documents[0]


def prepared(document: dict[str, Any]) -> dict[str, Any]:
    """Return a launcher's file with Ray's defaults, as `ray up` completes and checks it."""
    config: dict[str, Any] = prepare_config(copy.deepcopy(document))
    validate_config(config)
    return config


def with_role_of_workers() -> Any:
    """Return `aws.yaml` as the page changes it for a workspace in a bucket."""
    text = (CLUSTERS / "aws.yaml").read_text(encoding="utf-8")
    assert text.count(ROLE_OF_WORKERS) == 1
    return yaml.safe_load(text.replace(ROLE_OF_WORKERS, ROLE_OF_WORKERS.removeprefix("# ")))


def ray_starts(document: dict[str, Any]) -> dict[str, str]:
    """Return the line that starts Ray, by the kind of node."""
    starts = {}
    for kind in ("head", "worker"):
        (starts[kind],) = [line for line in document[f"{kind}_start_ray_commands"] if "ray start" in line]
    return starts


def section(title: str) -> str:
    """Return the text under one heading of the README."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def commands(text: str) -> list[list[str]]:
    """Return the words of every line in the text's shell blocks."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", "")
    return [words for line in blocks.splitlines() if (words := shlex.split(line, comments=True))]
