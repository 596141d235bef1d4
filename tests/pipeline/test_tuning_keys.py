"""Who is held out is in the keys of an outer loop's stages, and leaves all other keys as they were."""

from pipeline.config.experiment import Experiment
from pipeline.plan.unfold import plan
from pipeline.results import Result


def keys_of_a_published_genotype(hold_out: int | None = None) -> dict[str, str | None]:
    """Return the keys of the stages that retrain MSINet on a Market1501 of made-up fingerprints."""
    experiment = Experiment.model_validate(
        {
            "name": "n",
            "datasets": {"market": {"kind": "market1501", "path": "/m"}},
            "sources": ["market"],
            "targets": ["market"],
            "genotypes": ["MSINet"],
            "measure": True,
        }
    )

    def published(kind: str, key: str) -> Result | None:
        if kind == "prepare":
            return {"train_fingerprint": "t", "fingerprint": "f", "protocol": "fixed", "key": key}
        return {"key": key} if kind == "retrain" else None

    planned = plan(experiment, {"market": "f"}, published, hold_out=hold_out)
    planned.name_device("cpu")
    planned.resolve(lambda kind, key: None)
    return {f"{stage.kind} {stage.labels.get('network')}": stage.key for stage in planned.stages.values()}


def test_ordinary_keys_are_what_they_were_before_there_was_an_outer_loop() -> None:
    assert keys_of_a_published_genotype() == {
        "prepare None": "0acc0c79cdf1f0732135b860c084542d",
        "retrain msinet": "6b355671de84f2c207436c8af98b1f31",
        "evaluate msinet": "f8f6cdf0508f51d7c9c6d110283a10ba",
        "measure resnet50": "dd7586603812d0c0f44fd28dc0df71f0",
        "measure msinet": "071bf74c21c5771c60c26d400ba9e0a4",
    }


def test_what_is_held_out_is_in_the_keys() -> None:
    ordinary, fifth, third = (keys_of_a_published_genotype(hold_out) for hold_out in (None, 20, 33))
    assert ordinary["prepare None"] == fifth["prepare None"]
    for name in ("retrain msinet", "evaluate msinet"):
        assert len({ordinary[name], fifth[name], third[name]}) == 3
    assert fifth["measure msinet"] == third["measure msinet"] != ordinary["measure msinet"], "one picture at a time"
    assert "measure resnet50" not in fifth
