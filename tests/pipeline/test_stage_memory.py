"""The memory of a stage: its figures are computed again from the networks, and compared with real processes."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest
from support.grids import tiny_document
from support.tuning import tuned

from msinet.engine.footprint import footprint
from msinet.genotype import Genotype
from msinet.models import build_model
from msinet.models.supernet import Supernet
from msinet.recipes import Alignment, SearchRecipe, TrainRecipe
from msinet.spaces import Space
from msinet.spaces.operations import LETTER_OF
from pipeline.cluster import connect as connecting
from pipeline.cluster.connect import connect, share_of
from pipeline.config.experiment import Experiment
from pipeline.config.resources import Resources
from pipeline.errors import RequestError
from pipeline.plan.memory import (
    GIB,
    HELD,
    SAVED,
    Need,
    needs_of,
    reserved_memory,
    space_factor,
    stage_memory,
    step_bytes,
    training_memory,
    trial_need,
)
from pipeline.plan.unfold import plan

SIZE = (256, 128)
LARGEST = "A" * 12


def computed(
    network: str, *, letters: str = LARGEST, size: tuple[int, int] = SIZE, **recipe: Any
) -> tuple[float, float]:
    """Return what a step saves, in bytes: as it is computed from the network, and as plans say."""
    if network == "search":
        numbers: SearchRecipe | TrainRecipe = SearchRecipe(**recipe)
        found = footprint(Supernet(), numbers, size)
    else:
        numbers = TrainRecipe(**recipe)
        options = {"genotype": letters} if network == "msinet" else {}
        found = footprint(build_model(network, num_classes=100, **options), numbers, size)
    return found.saved, step_bytes(network, asdict(numbers), size)


@pytest.mark.parametrize(("network", "precision"), SAVED)
def test_plans_say_what_a_step_of_the_paper_saves(network: str, precision: Any) -> None:
    saved, said = computed(network, precision=precision)
    assert 0.99 * said < saved <= said
    if (network, precision) == ("search", "float32"):
        assert saved / GIB == pytest.approx(5.18, abs=0.01)


@pytest.mark.parametrize("network", ["search", "msinet"])
def test_what_a_step_saves_grows_with_pixels_and_images(network: str) -> None:
    for size, batch_size in (((256, 256), 64), ((64, 32), 8), ((128, 64), 16)):
        saved, said = computed(network, size=size, batch_size=batch_size)
        assert 0.97 * said < saved <= said


@pytest.mark.parametrize("letters", ["NNNNNNNNNNNN", "GGGGGGGGGGGG", "EEEEEEEEEEEE", "GGEGAGGNGAEA"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_genotype_saves_more(letters: str, precision: Any) -> None:
    saved, said = computed("msinet", letters=letters, precision=precision)
    assert 0.85 * said < saved <= said


def test_other_spaces_are_counted() -> None:
    space, size = Space("x", (tuple(LETTER_OF),) * 12, (3, 5, 9), 0.5), (64, 32)
    for network, recipe in (("search", SearchRecipe(batch_size=8)), ("msinet", TrainRecipe(batch_size=8))):
        genotype = Genotype("C" * 12, space)
        model = (
            Supernet(space=space) if network == "search" else build_model("msinet", num_classes=9, genotype=genotype)
        )
        said = step_bytes(network, asdict(recipe), size) * space_factor(space, network)
        assert 0.75 * said < footprint(model, recipe, size).saved <= said


@pytest.mark.parametrize("alignment", [name for name in get_args(Alignment) if name != "none"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_alignment_is_counted(alignment: Any, precision: Any) -> None:
    saved, said = computed("msinet", alignment=alignment, precision=precision)
    assert 0.92 * said < saved <= said


def test_weights_are_counted_with_the_classifiers_of_the_largest_dataset() -> None:
    recipe = TrainRecipe(optimizer="adam", batch_size=8)
    held = {"search": footprint(Supernet(), SearchRecipe(batch_size=8), (32, 16)).held}
    for network in ("msinet", "resnet50", "osnet"):
        options = {"genotype": LARGEST} if network == "msinet" else {}
        model = build_model(network, num_classes=13_164, **options)
        held[network] = footprint(model, recipe, (32, 16)).held
    assert held.keys() == HELD.keys()
    for network, size in held.items():
        assert 0.95 * HELD[network] < size <= HELD[network]


PROGRAM = """
import json, sys
from pathlib import Path
sys.path.append("tests")  # behind the packages, because the folder has namesakes of them
from support.grids import run_without_ray
from pipeline.storage.workspace import Workspace

folder = Path(sys.argv[1])
run_without_ray(json.loads(sys.argv[2]), Workspace(folder))
line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(1024 * int(line.split()[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["search", "retrain"])
def test_a_real_process_takes_no_more(tmp_path: Path, kind: str) -> None:
    document = tiny_document() | {"targets": [], "image_size": [128, 64]}
    document["datasets"]["street"]["train_ids"] = 24
    recipe = {"batch_size": 16, "num_instances": 2, "epochs": 2}
    document["search"] |= recipe
    document["retrain"]["in_domain"] |= recipe
    if kind == "retrain":
        document |= {"splits": [], "genotypes": [LARGEST], "targets": ["street"]}
    planned = plan(Experiment.model_validate(document))
    stage = next(planned.of_kind(kind))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "workspace"), json.dumps(document)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stderr
    assert 0.6 < int(ran.stdout) / stage_memory(planned, stage) <= 1.0


def test_several_workers_share_a_batch() -> None:
    recipe = asdict(SearchRecipe())
    alone, shared = (training_memory("search", recipe, SIZE, workers) for workers in (1, 2))
    assert 0.5 * alone < shared < 0.6 * alone


def test_trainings_reserve_equally_much_and_no_less_than_evaluations(tiny: dict[str, Any]) -> None:
    tiny["search"]["batch_size"] = 16
    planned = plan(Experiment.model_validate(tiny))
    reserved = reserved_memory(planned)
    needs = {need.kind: need.memory for need in needs_of(planned, planned.stages.values())}
    assert reserved["search"] == reserved["retrain"] == max(needs.values())
    assert reserved["evaluate"] == needs["evaluate"] > 0
    assert "prepare" not in reserved


def test_a_stage_that_is_done_or_lacks_something_reserves_nothing(tiny: dict[str, Any], finished: Any) -> None:
    assert reserved_memory(finished[0]) == {}
    tiny["datasets"]["street"] = {"kind": "market1501"}
    assert reserved_memory(plan(Experiment.model_validate(tiny))) == {}


def test_the_largest_trial_is_counted(tiny: dict[str, Any]) -> None:
    experiment = tuned(
        tiny | {"image_size": [256, 128]},
        space={
            "retrain": {"batch_size": [8, 32], "precision": ["bf16", "float32"], "margin": {"low": 0.1, "high": 0.5}}
        },
    )
    assert experiment.tune is not None
    recipe = asdict(experiment.retrain.in_domain) | {"batch_size": 32, "precision": "float32"}
    assert trial_need(experiment, experiment.tune).memory == training_memory("msinet", recipe, SIZE)


class Machine:
    """A machine as Ray describes it, without Ray."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, memory: float, **more: float) -> None:
        for name in ("_start", "_join"):
            monkeypatch.setattr(connecting, name, lambda *address: None)
        resources = {"CPU": 8.0, "memory": memory, **more}
        monkeypatch.setattr(connecting.ray, "cluster_resources", lambda: resources)
        monkeypatch.setattr(connecting.ray, "nodes", lambda: [{"Alive": True, "Resources": resources}])


@pytest.fixture
def needs(tiny: dict[str, Any]) -> list[Need]:
    """Return what the tiny experiment needs with the paper's batches and pictures."""
    tiny |= {"image_size": list(SIZE), "search": {}, "retrain": {}}
    planned = plan(Experiment.model_validate(tiny))
    return needs_of(planned, planned.stages.values())


def test_a_stage_that_does_not_fit_this_machine_is_refused(needs: list[Need], monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, memory=6 * GIB)
    expected = (
        r"a stage must fit into the memory of this machine, but `search street 60-80 seed 0` needs 9\.8 GiB, and "
        r"6\.0 GiB can be used: lower search\.batch_size or image_size, or set search\.precision to bf16\.$"
    )
    with pytest.raises(RequestError, match=expected):
        connect(None, Resources(), needs)
    Machine(monkeypatch, memory=10 * GIB)
    connect(None, Resources(), needs)


def test_on_a_gpu_the_machines_memory_is_not_counted(needs: list[Need], monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, memory=1 * GIB, GPU=1.0)
    connect(None, Resources(), needs)
    assert "memory" not in share_of(Resources(), "search", {"search": 10 * GIB})


def test_a_cluster_may_still_grow(
    needs: list[Need], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Machine(monkeypatch, memory=6 * GIB)
    connect("head:6379", Resources(), needs)
    assert "no machine of the cluster has the memory that a stage needs, so it waits: `search street" in caplog.text


@pytest.mark.parametrize(("flags", "warned"), [("fpu avx2", True), ("fpu avx2 avx512f avx512vl", False), (None, False)])
def test_bf16_on_a_processor_without_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    flags: str | None,
    warned: bool,
) -> None:
    Machine(monkeypatch, memory=10 * GIB)
    monkeypatch.setattr(connecting.platform, "machine", lambda: "x86_64")
    if flags:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    lacks = connecting._lacks_bf16(tmp_path / "cpuinfo")
    assert lacks is warned
    monkeypatch.setattr(connecting, "_lacks_bf16", lambda: lacks)
    for precision in ("float32", "bf16"):
        connect(None, Resources(), [Need("retrain", "retrain street", GIB, "", precision)])
    assert caplog.text.count("bf16 is several times slower than float32 here (retrain)") == int(warned)
