"""One experiment is one parent run in MLflow, in whichever folder its file and its data lie."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command_line import write
from support.tuning import document

from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.plan.stage import content_hash
from pipeline.tracking.facts import specification


def test_an_experiment_is_the_same_wherever_its_data_lie(tiny: dict[str, Any]) -> None:
    def specified(path: str, name: str = "tiny") -> dict[str, Any]:
        tiny["datasets"]["street"] = {"kind": "market1501", "path": path}
        return specification(Experiment.model_validate({**tiny, "name": name, "resources": {"max_concurrent": 3}}))

    assert specified("/a") == specified("/b")
    assert specified("/a") != specified("/a", "other")


def test_a_split_in_a_file_counts_by_its_content(tiny: dict[str, Any], tmp_path: Path) -> None:
    def specified(folder: str, content: str, source: str | None = None) -> dict[str, Any]:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / "mine.csv").write_text(content)
        splits = ["60-80", {"split": "mine", "file": "mine.csv"}]
        document = {**tiny, "splits": {source: splits} if source else splits}
        return specification(load_experiment(write(place, document)))

    assert specified("a", "one") == specified("b", "one")
    assert specified("a", "one", "street") == specified("b", "one", "street")
    assert specified("a", "one") != specified("b", "another")
    assert specified("a", "one", "street") != specified("b", "another", "street")
    there = specified("b", "one")
    shutil.rmtree(tmp_path / "a")
    assert there == specified("b", "one"), "nothing of the other folder is read"


def test_a_split_whose_file_is_missing_is_no_error(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["splits"] = [{"split": "mine", "file": "absent.csv"}]
    assert specification(load_experiment(write(tmp_path, tiny)))["splits"][0]["split"] == "mine"


@pytest.mark.parametrize("changed", [{}, {"storage": "journal.log"}, {"trials": 9}, {"concurrent": 2}])
def test_an_outer_loop_makes_no_other_experiment(tiny: dict[str, Any], tmp_path: Path, changed: dict[str, Any]) -> None:
    tuned = {**tiny, "tune": document(tiny, **changed)["tune"]}
    without = specification(Experiment.model_validate(tiny))
    assert specification(load_experiment(write(tmp_path, tuned))) == without


def test_experiments_of_earlier_versions_keep_their_parent(tiny: dict[str, Any]) -> None:
    value = "d57aa10d59b9fc6243e4bc98feefea47"
    assert content_hash(specification(Experiment.model_validate(tiny))) == value
