"""Retraining: its loss is the obvious sum, it continues bit for bit, and it learns."""

import contextlib
import copy
import math
from dataclasses import asdict, replace
from typing import get_args

import pytest
import torch
from support.tiny_data import Tiny
from torch import Tensor

from msinet.engine.state import load_state, save_state
from msinet.engine.train import Training, TrainReport, train_epochs
from msinet.losses import activation_distribution, consistent_attention, spatial_alignment
from msinet.models import Outputs, SpatialAlignment, build_model
from msinet.recipes import RECIPES, Alignment, Augmentation, TrainRecipe

CPU = torch.device("cpu")
RECIPE = TrainRecipe(epochs=3, batch_size=8, num_instances=2, warmup_epochs=2, milestones=(2,), alignment="pos_neg")


def new_training(tiny: Tiny, recipe: TrainRecipe = RECIPE, network: str = "msinet", seed: int = 0) -> Training:
    torch.manual_seed(seed)
    options = {"genotype": "MSINet"} if network == "msinet" else {}
    return Training(build_model(network, num_classes=8, **options), tiny.batches("train", recipe), recipe, CPU)


def first_step(training: Training) -> tuple[list[float], Tensor]:
    """Return (identity, triplet, alignment, accuracy) of the first step, and the first convolution's gradient."""
    training.model.train()
    losses = training.step(next(training.batches.epoch(0)))
    return losses.tolist(), next(training.model.parameters()).grad


def without_seconds(report: TrainReport) -> dict:
    return {**asdict(report), "seconds": None}


class Stop(Exception):
    """An interruption."""


def stop() -> None:
    raise Stop


def assert_same_state(first: dict, second: dict) -> None:
    """Assert that two states are equal bit for bit, except for the seconds."""
    torch.testing.assert_close({**first, "seconds": 0}, {**second, "seconds": 0}, rtol=0, atol=0)


@pytest.mark.parametrize("alignment", ["none", "pos_neg", "activation_distribution"])
def test_a_training_that_is_interrupted_at_every_step_is_the_same_bit_for_bit(tiny, tmp_path, alignment):
    """Every step is run by a new object, which knows only the saved state."""
    recipe = replace(RECIPE, alignment=alignment)
    straight = new_training(tiny, recipe)
    reports, states = [], []
    for report in train_epochs(straight, lambda: states.append(copy.deepcopy(straight.state_dict()))):
        reports.append(report)
        states.append(copy.deepcopy(straight.state_dict()))
        straight.model.eval()  # a change of mode by the caller must not matter
    assert len(states) == sum(report.steps for report in reports) > 2 * len(reports)
    continued = []
    for number, state in enumerate(states):
        fresh = new_training(tiny, recipe, seed=number)
        if number:
            fresh.load_state_dict(load_state(tmp_path / "state.pt"))
        with contextlib.suppress(Stop):
            continued.append(next(train_epochs(fresh, stop)))
        save_state(tmp_path / "state.pt", fresh.state_dict())
        assert_same_state(fresh.state_dict(), state)
    assert list(map(without_seconds, continued)) == list(map(without_seconds, reports))
    assert (fresh.state_dict()["alignment"] != {}) == (alignment == "pos_neg")
    assert list(train_epochs(fresh)) == []


def test_reports_hold_the_schedule_and_the_losses(tiny):
    reports = list(train_epochs(new_training(tiny)))
    assert [report.epoch for report in reports] == [0, 1, 2]
    assert [report.lr for report in reports] == pytest.approx([0.065 * f for f in (0.01, 0.505, 0.1)])
    for report in reports:
        parts = report.identity_loss + report.triplet_loss + 2.0 * report.alignment_loss
        assert report.loss == pytest.approx(parts)
        assert report.steps >= 3
        assert report.seconds > 0


def slow_identity(logits_BK: Tensor, labels: list[int], smoothing: float) -> Tensor:
    losses = []
    for logits_K, label in zip(logits_BK, labels, strict=True):
        logarithms = logits_K - torch.log(sum(torch.exp(logit) for logit in logits_K))
        shares = [smoothing / len(logits_K)] * len(logits_K)
        shares[label] += 1 - smoothing
        losses.append(-sum(share * value for share, value in zip(shares, logarithms, strict=True)))
    return sum(losses) / len(losses)


def slow_triplet(features_BD: Tensor, labels: list[int], margin: float) -> Tensor:
    unit = [feature_D / feature_D.norm() for feature_D in features_BD]
    losses = []
    for anchor, label in zip(unit, labels, strict=True):
        distances = [((anchor - other) ** 2).sum().clamp(min=1e-12).sqrt() for other in unit]
        positive = max(d for d, other in zip(distances, labels, strict=True) if other == label)
        negative = min(d for d, other in zip(distances, labels, strict=True) if other != label)
        losses.append((positive - negative + margin).clamp(min=0))
    return sum(losses) / len(losses)


def obvious_alignment(outputs: Outputs, labels_B: Tensor, module: SpatialAlignment | None, choice: str) -> Tensor:
    match choice:
        case "none":
            return torch.zeros(())
        case "consistent_attention":
            return consistent_attention(outputs.maps)
        case "activation_distribution":
            return activation_distribution(outputs.feature_map, labels_B)
        case "sam_softmax":
            return spatial_alignment(outputs.feature_map, labels_B, module, "pos_neg", sam_softmax=True)
    return spatial_alignment(outputs.feature_map, labels_B, module, choice)


@pytest.mark.parametrize("alignment", get_args(Alignment))
def test_a_step_is_the_gradient_of_the_obvious_sum(tiny, alignment):
    training = new_training(tiny, replace(RECIPE, alignment=alignment, alignment_weight=1.5, label_smoothing=0.2))
    network, module = copy.deepcopy(training.model).train(), copy.deepcopy(training.alignment)
    batch = next(training.batches.epoch(0))
    labels = batch.labels_B.tolist()
    outputs = network(batch.images_BCHW)
    assert len(outputs.logits) == len(outputs.features) == 2
    identity = sum(slow_identity(logits_BK, labels, 0.2) for logits_BK in outputs.logits)
    triplet = sum(slow_triplet(features_BD, labels, 0.3) for features_BD in outputs.features)
    aligned = obvious_alignment(outputs, batch.labels_B, module, alignment)
    (identity + triplet + 1.5 * aligned).backward()

    (*losses, accuracy), _ = first_step(training)
    assert losses == pytest.approx([identity.item(), triplet.item(), aligned.item()], rel=1e-4)
    assert accuracy == (outputs.logits[0].argmax(1) == batch.labels_B).float().mean().item()
    networks = ((training.model, network), (training.alignment, module)) if module else ((training.model, network),)
    for actual, expected in networks:
        for (name, p), q in zip(actual.named_parameters(), expected.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None), name
            if q.grad is not None:
                assert (p.grad - q.grad).norm() <= 1e-3 * q.grad.norm() + 1e-6, name


def test_each_choice_changes_the_loss_and_the_gradient(tiny):
    plain = replace(RECIPE, alignment="none")
    recipes = [
        plain,
        *(replace(plain, alignment=choice) for choice in get_args(Alignment)[1:]),
        replace(plain, label_smoothing=0.0),
        replace(plain, precision="bf16"),
        replace(plain, margin=0.0),
    ]
    losses, gradients = zip(*(first_step(new_training(tiny, recipe)) for recipe in recipes), strict=True)
    assert all(math.isfinite(loss) for step in losses for loss in step)
    assert len({tuple(step) for step in losses}) == len(recipes)
    assert not any(torch.equal(gradient, gradients[0]) for gradient in gradients[1:])
    none, pos, neg, both = (step[2] for step in losses[:4])
    assert none == 0
    assert both == pytest.approx(pos + neg, rel=1e-5)


def test_the_alignment_is_trained_too(tiny):
    training = new_training(tiny)
    before = [p.detach().clone() for p in training.alignment.parameters()]
    first_step(training)
    moved = [not torch.equal(p, q) for p, q in zip(training.alignment.parameters(), before, strict=True)]
    assert any(moved)


@pytest.mark.parametrize("network", ["resnet50", "osnet"])
def test_the_baselines_take_a_step(tiny, network):
    training = new_training(tiny, replace(RECIPES["in_domain"], batch_size=8, num_instances=2), network)
    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    (identity, triplet, alignment, accuracy), _ = first_step(training)
    assert training.alignment is None
    assert 0 < identity < math.inf
    assert 0 < triplet < math.inf
    assert alignment == 0
    assert 0 <= accuracy <= 1
    trained = {name for name, p in training.model.named_parameters() if p.requires_grad}
    assert all(not torch.equal(training.model.state_dict()[name], before[name]) for name in trained)


@pytest.mark.parametrize("network", ["resnet50", "osnet"])
@pytest.mark.parametrize("alignment", ["pos_neg", "consistent_attention", "activation_distribution"])
def test_the_baselines_are_aligned_too(tiny, network, alignment):
    recipe = replace(RECIPE, alignment=alignment)
    (_, _, loss, _), gradient = first_step(new_training(tiny, recipe, network))
    _, plain_gradient = first_step(new_training(tiny, replace(recipe, alignment="none"), network))
    assert 0 < loss < 2
    assert gradient.isfinite().all()
    assert not torch.equal(gradient, plain_gradient)


def test_batches_must_be_the_recipes(tiny):
    batches = tiny.batches("train", replace(RECIPE, num_instances=4))
    model = build_model("msinet", num_classes=8, genotype="MSINet")
    with pytest.raises(ValueError, match=r"4 identities × 2 images .* those of the training side are 2 × 4"):
        Training(model, batches, RECIPE, CPU)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_its_first_epoch(tiny, name):
    training = new_training(tiny, replace(RECIPES[name], batch_size=8, num_instances=2))
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[RECIPES[name].optimizer]
    assert isinstance(training.optimizer, optimizer)
    report = next(train_epochs(training))
    assert report.lr == pytest.approx(0.01 * RECIPES[name].lr)
    assert 0 < report.loss < math.inf


def test_a_few_epochs_learn_a_tiny_set(tiny):
    recipe = TrainRecipe(
        epochs=12,
        batch_size=16,
        num_instances=4,
        optimizer="adam",
        lr=3e-3,
        warmup_epochs=0,
        milestones=(),
        augmentation=Augmentation(flip=0, pad=0),
        label_smoothing=0.0,
    )
    reports = list(train_epochs(new_training(tiny, recipe)))
    assert reports[0].accuracy < 0.3
    assert reports[-1].accuracy > 0.5
    assert reports[-1].loss < 0.6 * reports[0].loss


def test_a_loss_that_is_no_number_ends_the_training(tiny):
    training = new_training(tiny)
    with torch.no_grad():
        next(training.model.parameters())[0] = math.nan
    with pytest.raises(ValueError, match=r"must stay finite, but epoch 0 gave .*nan.*`lr`"):
        next(train_epochs(training))
    assert training.next_epoch == 0
