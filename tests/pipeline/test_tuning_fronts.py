"""An outer loop ends in a table, a picture, and experiments that can be run."""

from pathlib import Path
from typing import Any

from PIL import Image
from support.tuning import Driver, latency, tuned

from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.config.tune import genotype_of
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace
from pipeline.tuning import fronts, studies


def test_the_front_is_a_table_a_picture_and_experiments(tiny: dict[str, Any], workspace: Workspace) -> None:
    section = {
        "objectives": ["mAP", "latency_ms", "parameters"],
        "space": {"genotype": True, "retrain": {"margin": [0.2, 0.4]}},
    }
    experiment = tuned(tiny, **section, genotype=None, trials=8, constraints={"latency_ms": 6})
    tune = experiment.tune
    assert tune is not None
    driver = Driver(
        tune,
        workspace.root / "journal.log",  # type: ignore[operator]
        look=lambda values: {"parameters": 2e6, **latency(values)},
    )
    driver.run()
    front = fronts.front_of(driver.study, tune)
    written = fronts.write(driver.study, experiment, workspace, "tune/tiny")
    names = [Path(path).name for path in written]
    assert names[:2] == ["front.csv", "pareto.png"]
    with Image.open(written[1]) as picture:
        assert picture.width > picture.height > 300
    text = fronts.text(driver.study, tune)
    assert f"Pareto front of {len(driver.study.trials)} trials" in text
    assert "street's identities" in text
    retrained = [load_experiment(Path(path)) for path in written if path.endswith(".yaml")]
    found = {(g, e.retrain.in_domain.margin) for e in retrained for g in e.genotypes}
    assert found == {(studies.show_values(t.params).split(",")[0], t.params["margin"]) for t in front}
    for derived in retrained:
        assert derived.tune is None
        assert derived.targets == ["street"]
        assert derived.retrain.cross_domain == experiment.retrain.cross_domain
        assert next(plan(derived).of_kind("retrain")).settings["recipe"]["epochs"] == 2


def test_the_experiments_train_what_the_front_found_alone(tiny: dict[str, Any], workspace: Workspace) -> None:
    """Whatever else the experiment trains, the files hold one training for each genotype, recipe and seed."""
    experiment = tuned(
        {
            **tiny,
            "sources": ["street", "campus"],
            "genotypes": ["MSINet"],
            "networks": ["osnet"],
            "alignments": ["none", "pos_neg"],
            "starts": ["scratch", "pretrained"],
            "search_seeds": [1, 2],
            "split_seed": 3,
            "retrain_seeds": [4, 5],
            "tables": [9],
        },
        space={"genotype": True},
        objectives=["mAP", "latency_ms"],
        trials=4,
    ).model_copy(update={"splits": Experiment.model_validate(tiny).splits})
    assert experiment.tune is not None
    driver = Driver(experiment.tune, workspace.root / "journal.log")  # type: ignore[operator]
    driver.run()
    found = {genotype_of(trial.params) for trial in fronts.front_of(driver.study, experiment.tune)}
    (document,) = fronts.retrainings(fronts.front_of(driver.study, experiment.tune), experiment)
    derived = Experiment.model_validate(document)
    kept = {name for name in document if name not in tiny}
    trained = [(stage.labels["genotype"], stage.labels["seed"]) for stage in plan(derived).of_kind("retrain")]
    assert sorted(trained) == sorted((genotype, seed) for genotype in found for seed in (4, 5))
    assert not list(plan(derived).of_kind("search"))
    assert kept == {"genotypes", "retrain_seeds"}, "nothing else of the experiment is of use here"
