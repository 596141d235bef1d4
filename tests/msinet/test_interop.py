"""Checkpoints of other projects: golden embeddings, start weights, and the files that are refused."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.networks import GOLDEN, assert_summary, golden_images, golden_state, small_images

from msinet.interop import load_released, load_start, read_card, read_state_dict
from msinet.models import build_model

LETTERS = GOLDEN["msinet"]["genotype"]


@pytest.fixture(scope="module")
def released():
    return golden_state("msinet")


def states_equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(("after_neck", "figure"), [(False, "embedding"), (True, "embedding_after_neck")])
def test_released_embedding_is_golden(released, after_neck, figure):
    model = load_released(released, "MSINet")
    assert not model.training
    assert model.genotype.letters == LETTERS
    assert model.global_head.classifier.out_features == model.part_head.classifier.out_features == 751
    with torch.no_grad():
        embedding = model.double().embed(golden_images("msinet"), after_neck=after_neck)
    assert_summary(embedding, GOLDEN["msinet"][figure])


def test_released_files_load_however_they_are_wrapped(released, tmp_path):
    expected = load_released(released, LETTERS).state_dict()
    wrapped = {"state_dict": {f"module.{key}": value for key, value in released.items()}, "epoch": 350}
    torch.save({**wrapped, "best_mAP": np.float64(0.9), "best_rank1": np.float32(0.9)}, tmp_path / "a.pth.tar")
    save_file({f"module.{key}": value for key, value in released.items()}, tmp_path / "b.safetensors")
    assert states_equal(load_released(tmp_path / "a.pth.tar", LETTERS).state_dict(), expected)
    assert states_equal(load_released(str(tmp_path / "b.safetensors"), LETTERS).state_dict(), expected)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_wrappers_of_training_scripts_are_taken_off(tmp_path, key, prefix):
    state = {"backbone.weight": torch.ones(2), "modules.weight": torch.zeros(2)}
    wrapped = {key: {f"{prefix}{name}": value for name, value in state.items()}, "optimizer": {"state": {}}, "epoch": 9}
    torch.save(wrapped, tmp_path / "checkpoint.pth")
    assert states_equal(read_state_dict(tmp_path / "checkpoint.pth"), state)
    torch.save({"model": wrapped}, tmp_path / "nested.pth")
    assert states_equal(read_state_dict(tmp_path / "nested.pth"), state)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"weights": {"a": torch.ones(1)}, "optimizer": {}, "iteration": 3}, "the keys weights, optimizer, iteration"),
        ({}, "the keys"),
        ([torch.ones(1)], "got list"),
        ({"model": {}}, "the keys"),
    ],
)
def test_a_checkpoint_that_is_not_understood_is_described(tmp_path, document, found):
    torch.save(document, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=f"state_dict, model_state_dict, model, net, but .*{found}"):
        read_state_dict(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("backbone", "neck", "classifier"),
    [
        ("base.", "bottleneck.", "classifier.weight"),
        ("backbone.", "heads.bottleneck.0.", "heads.weight"),
        ("backbone.", "heads.bottleneck.0.", "heads.classifier.weight"),
    ],
)
def test_resnets_of_other_baselines_start_ours(backbone, neck, classifier):
    ours = build_model("resnet50", num_classes=5).state_dict()
    names = {"backbone.": backbone, "neck.": neck, "classifier.weight": classifier}

    def theirs(key):
        prefix = next(prefix for prefix in names if key.startswith(prefix))
        return names[prefix] + key.removeprefix(prefix)

    model = build_model("resnet50", num_classes=5)
    given = {theirs(key): value for key, value in ours.items()} | {"pixel_mean": torch.zeros(1, 3, 1, 1)}
    report = load_start(model, given)
    assert report.left == report.ignored == ()
    assert states_equal(model.state_dict(), ours)


def test_a_common_prefix_that_is_not_understood_is_named():
    state = {f"encoder.{key}": value for key, value in build_model("resnet50", num_classes=5).state_dict().items()}
    with pytest.raises(ValueError, match=r"all their names begin with `encoder\.`"):
        load_start(build_model("resnet50", num_classes=5), state)


def test_released_without_classifiers_embeds(released):
    bare = {key: value for key, value in released.items() if "classifier" not in key}
    model = load_released(bare, LETTERS)
    with torch.no_grad():
        assert torch.equal(model.embed(small_images(2)), load_released(released, LETTERS).embed(small_images(2)))


def test_old_checkpoints_without_counters_load(released):
    old = {key: value for key, value in released.items() if not key.endswith("num_batches_tracked")}
    assert states_equal(load_released(old, LETTERS).state_dict(), load_released(released, LETTERS).state_dict())


def test_another_genotype_is_refused_and_the_fitting_letters_named(released):
    with pytest.raises(ValueError, match=r"own slots are GG\?GAGG\?GA\?A .*missing.*unexpected"):
        load_released(released, "A" * 12)


def test_misfits_are_named(released):
    damaged = {key: value for key, value in released.items() if key != "fc.weight"}
    damaged |= {"f_conv.bias": torch.zeros(3), "extra": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"global_head\.linear\.weight.*extra.*part_conv\.bias \(3,\)"):
        load_released(damaged, LETTERS)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Attack()}, "attack.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match="nothing but tensors"):
        load_released("attack.pth", LETTERS)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("name", ["damaged.pth", "damaged.safetensors"])
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=name):
        read_state_dict(tmp_path / name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["pipe.pth", "pipe.safetensors", "folder.pth", "folder.safetensors"])
@pytest.mark.parametrize("read", [read_state_dict, read_card])
def test_only_regular_files_are_read(tmp_path, name, read):
    (os.mkfifo if "pipe" in name else os.mkdir)(tmp_path / name)
    if read is read_card and not name.endswith(".safetensors"):
        assert read(tmp_path / name) is None  # without opening it
        return
    with pytest.raises(ValueError, match=f"{name} must be a regular file"):
        read(tmp_path / name)


def test_a_checkpoint_must_map_names_to_tensors(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must map names to tensors"):
        read_state_dict(tmp_path / "list.pth")


def test_start_from_released_weights_keeps_classifiers_of_another_size(released):
    model = build_model("msinet", genotype=LETTERS, num_classes=5)
    before = model.global_head.classifier.weight.clone()
    report = load_start(model, released)
    classifiers = {f"{head}_head.classifier.{part}" for head in ("global", "part") for part in ("weight", "bias")}
    assert set(report.left) == set(report.ignored) == classifiers
    assert set(report.loaded) == set(model.state_dict()) - classifiers
    assert torch.equal(model.global_head.classifier.weight, before)
    assert torch.equal(model.global_head.linear.weight, released["fc.weight"])


def test_start_needs_the_backbone_but_no_heads(released):
    model = build_model("msinet", genotype=LETTERS, num_classes=5)
    backbone = {key: value for key, value in released.items() if key.startswith(("conv1.", "cells."))}
    report = load_start(model, backbone)
    assert all(key.startswith("backbone.") for key in report.loaded)
    assert not any(key.startswith("backbone.") for key in report.left)
    del backbone["cells.7.conv4b.conv.weight"]
    with pytest.raises(ValueError, match=r"missing backbone\.cells\.5\.leave_b\.conv\.weight"):
        load_start(model, backbone)


def test_start_of_another_genotype_is_refused_and_changes_nothing(released):
    model = build_model("msinet", genotype="MSINet-VR", num_classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"fit genotype GGEAGAGAAAEA, but their own slots are GG\?GAGG\?GA\?A"):
        load_start(model, released)
    assert states_equal(before, model.state_dict())


@pytest.mark.parametrize(
    ("name", "options"), [("msinet", {"genotype": LETTERS}), ("resnet50", {}), ("osnet", {"scales": (7, 9)})]
)
def test_start_from_own_names_takes_everything(name, options):
    first, second = (build_model(name, num_classes=5, **options) for _ in range(2))
    report = load_start(second, {f"module.{key}": value for key, value in first.state_dict().items()})
    assert states_equal(first.state_dict(), second.state_dict())
    assert report.left == report.ignored == ()


def test_torchvision_classifier_is_not_taken():
    state = golden_state("resnet50") | {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}
    model = build_model("resnet50", num_classes=1000)
    load_start(model, state)
    assert not torch.equal(model.classifier.weight, state["fc.weight"])


def test_start_from_another_network_is_refused():
    with pytest.raises(ValueError, match="must fit OSNet, but they do not: missing"):
        load_start(build_model("osnet", num_classes=5), golden_state("resnet50"))
