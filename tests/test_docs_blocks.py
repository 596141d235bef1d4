"""The YAML and Python blocks of the documents are what this project reads and runs."""

import re
from typing import Any

import pytest
import yaml
from support.documents import PAGES, blocks
from support.grids import tiny_document

from msinet.spaces.space import Space
from pipeline.config.experiment import Experiment
from pipeline.plan.unfold import plan

WORLDS_WITH_PYTHON = {"docs/export.md", "docs/laboratory.md"}  # test_docs_commands.py; README.md: test_documents.py
DATASETS = {name: tiny_document()["datasets"]["street"] for name in ("market", "msmt", "veri", "street", "station")}


def parts(block: str) -> list[Any]:
    """Return the documents of a block. A key that is given again begins another one: such blocks show alternatives."""
    if block.startswith(" "):
        block = f"tune:\n  source: market\n  objectives: [mAP]\n  trials: 2\n  space: {{genotype: true}}\n{block}"
    texts: list[dict[str, str]] = [{}]
    for item in re.findall(r"^\S.*\n(?:[ \n].*\n?)*", re.sub(r"^#.*\n", "", block, flags=re.MULTILINE), re.MULTILINE):
        key = item.partition(":")[0]
        if key in texts[-1]:
            texts.append({})
        texts[-1][key] = item
    return [yaml.safe_load("".join(text.values())) for text in texts]


def each_part() -> list[Any]:
    return [
        pytest.param(part, id=f"{page}: {', '.join(part)}")
        for page in PAGES
        for block in blocks(page, "yaml")
        for part in parts(block)
    ]


def test_python_of_a_page_is_run_by_a_test() -> None:
    assert {page for page in PAGES if blocks(page, "python")} == {"README.md", *WORLDS_WITH_PYTHON}


def test_the_pages_have_yaml() -> None:
    assert len(each_part()) > 15


@pytest.mark.parametrize("part", each_part())
def test_yaml_of_a_page_is_an_experiment_or_a_part_of_one(part: dict[str, Any]) -> None:
    if "operations" in part:
        assert Space.from_document(part).name == part["name"]
        return
    roles = {"sources": ["market"], "targets": ["veri"], "splits": ["60-80"], "genotypes": ["MSINet"]}
    planned = plan(Experiment.model_validate({"name": "page", "datasets": dict(DATASETS), **roles, **part}))
    assert list(planned.of_kind("retrain"))
