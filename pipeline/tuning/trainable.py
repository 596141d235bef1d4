"""Whether a source has enough identities for the trials of an outer loop."""

from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData
from pipeline.config.tune import recipe_of
from pipeline.plan.preflight import read_dataset, require_held_out
from pipeline.tuning.trial import settings


def require_trainable(experiment: Experiment) -> None:
    """Make sure that there are enough identities to train on, and enough held-out identities to score on.

    Raises:
        RequestError: There are too few identities.
    """
    tune = settings(experiment)
    records = _train_records(tune.source, experiment.datasets[tune.source])
    recipe = experiment.retrain.in_domain
    choices = tune.space.retrain
    sizes = [
        recipe_of(recipe, {"batch_size": size, "num_instances": instances}).num_ids
        for size in (choices["batch_size"].ends if "batch_size" in choices else [recipe.batch_size])
        for instances in (choices["num_instances"].ends if "num_instances" in choices else [recipe.num_instances])
    ]
    require_held_out(tune.source, records, tune.hold_out, max(sizes), "tune")


def _train_records(name: str, data: Any) -> list[Any]:
    from msinet.data import synthetic

    records = read_dataset(name, data).records if isinstance(data, DiskData) else synthetic.records(data.spec)
    return [record for record in records if record.subset == "train"]
