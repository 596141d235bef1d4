"""A truth value, a number or a text of another type than is meant is refused, and never read as something else."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tuning import RETRAIN, TUNE
from test_config import change, load

from pipeline.errors import RequestError

CHOICES = {**TUNE, **RETRAIN}


@pytest.mark.parametrize(
    ("setting", "text", "sentence"),
    [
        ("threads", "true", "`threads` must be a whole number, but got True."),
        ("threads", "'3'", "`threads` must be a whole number, but got '3'."),
        ("threads", "3.7", "`threads` must be a whole number, but got 3.7."),
        ("threads", "010", "`threads` must be a whole number, but got '010'."),
        ("threads", "1:30", "`threads` must be a whole number, but got '1:30'."),
        ("threads", ".nan", "`threads` must be a finite number, but got nan."),
        ("threads", "null", "`threads` must be a whole number, but got None."),
        ("checkpoint_every", "no", "`checkpoint_every` must be a number, but got False."),
        ("checkpoint_every", ".nan", "`checkpoint_every` must be a finite number, but got nan."),
        ("retrain_seeds", "[true]", "`retrain_seeds.0` must be a whole number, but got True."),
        ("tables", "[7, true]", "`tables.1` must be"),
        ("image_size", "[true, 64]", "`image_size.0` must be at least 16, but got True."),
        ("image_size", "['32', 64]", "`image_size.0` must be a whole number, but got '32'."),
        ("rerank", "1", "`rerank` must be true or false, but got 1."),
        ("rerank", "1.0", "`rerank` must be true or false, but got 1.0."),
        ("rerank", "'yes'", "`rerank` must be true or false, but got 'yes'."),
        ("rerank", "null", "`rerank` must be true or false, but got None."),
        ("name", "true", "`name` must be a text, but got True."),
        ("genotypes", "[1e3]", "`genotypes.0` must be a text, but got 1000.0."),
        ("search.epochs", "true", "`search.epochs` must be a whole number, but got True."),
        ("search.lr", "true", "`search.lr` must be a number, but got True."),
        ("search.alpha_betas", "[false, 0.9]", "`search.alpha_betas.0` must be a number, but got False."),
        ("retrain.in_domain.milestones", "[true, 2]", "`retrain.in_domain.milestones.0` must be a whole number"),
        ("retrain.cross_domain", "{augmentation: {pad: true}}", "`retrain.cross_domain.augmentation.pad` must be"),
        ("datasets.street.train_ids", "true", "`datasets.street.train_ids` must be a whole number, but got True."),
        ("resources.search.gpus", "true", "`resources.search.gpus` must be a number, but got True."),
        ("resources.search.gpus", "'0.5'", "`resources.search.gpus` must be a number, but got '0.5'."),
        ("workers.retrain", "true", "`workers.retrain` must be a whole number, but got True."),
        ("workers.sync_batch_norm", "0", "`workers.sync_batch_norm` must be true or false, but got 0."),
        ("tune", CHOICES | {"trials": True}, "`tune.trials` must be a whole number, but got True."),
        ("tune", CHOICES | {"constraints": {"parameters": "3e6"}, "space": {"genotype": True}}, "but got '3e6'."),
        (
            "tune",
            CHOICES | {"space": {"retrain": {"epochs": [2, True]}}},
            "`tune.space.retrain.epochs` must be a whole number, but got True.",
        ),
        ("tune", CHOICES | {"space": {"retrain": {"lr": ["0.1"]}}}, "`tune.space.retrain.lr` must be a number"),
        ("tune", CHOICES | {"space": {"retrain": {"lr": {"low": True, "high": 2}}}}, "`tune.space.retrain.lr.low`"),
    ],
)
def test_a_value_of_another_type_is_refused(
    tmp_path: Path, tiny: dict[str, Any], setting: str, text: Any, sentence: str
) -> None:
    """Every text here is YAML that would be easy to take for the right value."""
    document = yaml.safe_dump(change(tiny, setting, "PLACE"))
    with pytest.raises(RequestError) as error:
        load(tmp_path, document.replace("PLACE", text if isinstance(text, str) else json.dumps(text)))
    assert sentence in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("threads", "3.0", 3),
        ("threads", "1_000", 1000),
        ("threads", "0x10", 16),
        ("checkpoint_every", "7", 7.0),
        ("checkpoint_every", "1e2", 100.0),
        ("checkpoint_every", "1.5E-3", 0.0015),
        ("checkpoint_every", "+.5", 0.5),
        ("rerank", "yes", True),
    ],
)
def test_a_number_may_be_written_in_each_common_way(
    tmp_path: Path, tiny: dict[str, Any], setting: str, text: str, value: Any
) -> None:
    found = getattr(load(tmp_path, yaml.safe_dump(change(tiny, setting, "PLACE")).replace("PLACE", text)), setting)
    assert (found, type(found)) == (value, type(value))
