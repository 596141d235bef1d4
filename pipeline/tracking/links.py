"""Addresses of MLflow's pages that show the genotypes ranked by their mAP on a target."""

import json
from typing import NamedTuple
from urllib.parse import quote, urlencode

from pipeline.tracking.client import Deadline, connect, reach
from pipeline.tracking.genotypes import SUFFIX

MOST = 20  # experiments of which links are shown


class Link(NamedTuple):
    """A page that compares the genotypes of an experiment on a target."""

    experiment: str
    target: str
    address: str


def target_links(uri: str, pages: str, experiment: str | None = None) -> list[Link]:
    """Return the links of the newest experiments, one for each target.

    Args:
        uri: MLflow's address.
        pages: Address at which its pages are.
        experiment: Name of the only experiment of which links are wanted; by default all.

    Raises:
        RequestError: MLflow cannot be used.
    """
    found: list[Link] = []
    deadline = Deadline()

    def ask() -> None:
        client = connect(uri, deadline)
        for one in client.search_experiments(max_results=MOST, order_by=["last_update_time DESC"]):
            name = one.name.removesuffix(SUFFIX)
            if one.name.endswith(SUFFIX) and experiment in (None, name):
                targets = json.loads(one.tags.get("msinet.targets", "[]"))
                found.extend(Link(name, target, address(pages, one.experiment_id, target)) for target in targets)

    reach(uri, deadline, ask)
    return found


def address(pages: str, experiment_id: str, target: str) -> str:
    """Return the address of the page with ranked bars: a row for each genotype, ordered by its mAP on the target."""
    query = {
        "workflowType": "machine_learning",
        "searchFilter": "tags.kind = 'genotype'",
        "orderByKey": f"metrics.`mAP_{target}`",
        "orderByAsc": "false",
        "compareRunsMode": "CHART",
    }
    return f"{pages}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"
