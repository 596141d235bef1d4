"""The search: a side changes only its own parameters, and an epoch equals a slow obvious loop."""

import contextlib
import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

import pytest
import torch
from support.tiny_data import Tiny
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, normalize

from msinet.data.loaders import TrainBatches
from msinet.data.records import label_of
from msinet.data.samplers import IdentityBatches
from msinet.data.splits import identity_split
from msinet.engine.search import Search, SearchReport, search_epochs
from msinet.engine.state import load_state, save_state
from msinet.losses import memory_contrastive, update_memory
from msinet.models import Supernet
from msinet.recipes import SearchRecipe
from msinet.spaces import PAPER_SPACE

CPU = torch.device("cpu")
RECIPE = SearchRecipe(
    epochs=3,
    batch_size=8,
    num_instances=2,
    warmup_epochs=2,
    warmup_factor=0.01,
    milestones=(2,),
    alpha_milestones=(1,),
)
SUPERVISED = {"tcm": RECIPE, "softmax": replace(RECIPE, supervision="softmax")}
ALL_IDS = 12


def batches_of(tiny: Tiny, side: str, recipe: SearchRecipe) -> TrainBatches:
    """Return the batches of a side. For the softmax supervision the labels number the identities of both sides."""
    if recipe.supervision == "tcm":
        return tiny.batches(side, recipe)
    everyone = tiny.records("train")
    records = identity_split(everyone, 67, 33)[side == "valid"]
    labels = [label_of(everyone)[record.pid] for record in records]
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, 0, side)
    return TrainBatches(tiny.store(records), labels, sampler, recipe.augmentation, 0, "cpu", side, ALL_IDS)


def new_search(
    tiny: Tiny,
    recipe: SearchRecipe = RECIPE,
    network: Callable[[int | None], nn.Module] = Supernet,
    seed: int = 0,
) -> Search:
    torch.manual_seed(seed)
    supernet = network(ALL_IDS if recipe.supervision == "softmax" else None)
    return Search(supernet, batches_of(tiny, "train", recipe), batches_of(tiny, "valid", recipe), recipe, CPU)


def with_filled_memories(search: Search) -> Search:
    """Fill the memories at random, because a memory of zeros, as at the start, gives no gradient."""
    for memory in (search.train_memory, search.valid_memory):
        if memory is not None:
            memory.copy_(normalize(torch.randn_like(memory)))
    return search


def flat(state: dict, prefix: str = "") -> dict[str, object]:
    """Flatten nested dictionaries and lists into one dictionary by path."""
    result: dict[str, object] = {}
    for key, value in state.items():
        if isinstance(value, list):
            value = dict(enumerate(value))
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def same(first: object, second: object) -> bool:
    return torch.equal(first, second) if isinstance(first, Tensor) else first == second


def assert_same_state(first: dict, second: dict) -> None:
    first, second = flat(first), flat(second)
    assert first.keys() == second.keys()
    assert [key for key in first if not same(first[key], second[key])] == []


def without_seconds(report: SearchReport) -> dict:
    return {**asdict(report), "seconds": None}


class Straight(NamedTuple):
    """A search of three epochs without interruption, its reports, and its state after every step."""

    search: Search
    reports: list[SearchReport]
    states: list[dict]


@pytest.fixture(scope="module", params=SUPERVISED)
def straight(tiny: Tiny, request: pytest.FixtureRequest) -> Straight:
    search = new_search(tiny, SUPERVISED[request.param])
    reports, states = [], []

    def keep() -> None:
        states.append(copy.deepcopy(search.state_dict()))

    for report in search_epochs(search, keep):
        reports.append(report)
        keep()
        search.supernet.eval()  # a change of mode by the caller must not matter
    return Straight(search, reports, states)


@pytest.mark.parametrize("supervision", SUPERVISED)
@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_step_changes_nothing_but_its_own_side(tiny, side, supervision):
    search = with_filled_memories(new_search(tiny, SUPERVISED[supervision]))
    search.supernet.train()
    trained = {f"supernet.{name}" for name, p in search.supernet.named_parameters() if p.requires_grad}
    weights = trained - {"supernet.alphas"}
    assert ("supernet.classifier.weight" in weights) == (supervision == "softmax")
    statistics = {f"supernet.{name}" for name, _ in search.supernet.named_buffers()}
    before = flat(copy.deepcopy(search.state_dict()))
    batches = search.train if side == "train" else search.valid
    step = search.weight_step if side == "train" else search.alpha_step
    loss = step(next(batches.epoch(0)))
    assert loss.isfinite()
    assert not loss.requires_grad

    after = flat(search.state_dict())
    optimizer = {"train": "weight_optimizer.", "valid": "alpha_optimizer."}[side]
    changed = {key for key in after if key not in before or not same(before[key], after[key])}
    assert any(key.startswith(optimizer) for key in changed)
    own = weights if side == "train" else {"supernet.alphas"}
    memory = {f"{side}_memory"} if supervision == "tcm" else set()
    assert {key for key in changed if not key.startswith(optimizer)} == own | statistics | memory
    with_gradient = {f"supernet.{name}" for name, p in search.supernet.named_parameters() if p.grad is not None}
    assert with_gradient == own


@pytest.mark.parametrize("supervision", SUPERVISED)
@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_step_takes_the_gradient_of_the_whole_loss(tiny, side, supervision):
    search = with_filled_memories(new_search(tiny, SUPERVISED[supervision]))
    network = copy.deepcopy(search.supernet).train()
    search.supernet.train()
    batch = next((search.train if side == "train" else search.valid).epoch(0))
    features_BD = network(batch.images_BCHW)
    if supervision == "tcm":
        memory = (search.train_memory if side == "train" else search.valid_memory).clone()
        loss = memory_contrastive(features_BD, batch.labels_B, memory, 0.05)
    else:
        loss = cross_entropy(network.logits(features_BD), batch.labels_B)
    loss.backward()
    assert (search.weight_step if side == "train" else search.alpha_step)(batch).item() == loss.item()
    expected = dict(network.named_parameters())
    compared = [(p.grad, expected[name].grad) for name, p in search.supernet.named_parameters() if p.grad is not None]
    assert len(compared) == (sum(p.requires_grad for p in expected.values()) - 1 if side == "train" else 1)
    for actual, wanted in compared:
        torch.testing.assert_close(actual, wanted)


def slow_contrastive(features_BD: Tensor, labels_B: Tensor, memory_KD: Tensor) -> Tensor:
    losses = []
    for feature_D, label in zip(features_BD, labels_B, strict=True):
        exponentials = [torch.exp(feature_D @ entry_D / feature_D.norm() / 0.05) for entry_D in memory_KD.clone()]
        losses.append(-torch.log(exponentials[label] / sum(exponentials)))
    return sum(losses) / len(losses)


def slow_update(memory_KD: Tensor, features_BD: Tensor, labels_B: Tensor) -> None:
    for feature_D, label in zip(features_BD, labels_B, strict=True):
        moved_D = 0.2 * memory_KD[label] + 0.8 * feature_D / feature_D.norm()
        memory_KD[label] = moved_D / moved_D.norm()


def slow_softmax(features_BD: Tensor, labels_B: Tensor, network: nn.Module) -> Tensor:
    """Compute the cross entropy after a neck in training mode and a linear classifier."""
    mean_D, variance_D = features_BD.mean(0), features_BD.var(0, correction=0)
    losses = []
    for feature_D, label in zip(features_BD, labels_B, strict=True):
        necked_D = network.neck.weight * (feature_D - mean_D) / (variance_D + 1e-5).sqrt()
        exponentials = [torch.exp(necked_D @ row_D) for row_D in network.classifier.weight]
        losses.append(-torch.log(exponentials[label] / sum(exponentials)))
    return sum(losses) / len(losses)


class Gentle(nn.Module):
    """A small smooth network with α. In the supernet, rounding errors grow too fast to compare it with a slow loop."""

    feature_dim = 16

    def __init__(self, num_classes: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight_SODF = nn.Parameter(torch.randn(12, 4, 24, 16))
        self.alphas = nn.Parameter(1e-3 * torch.randn(12, 4))
        self.choices = (tuple(range(4)),) * 12
        self.space = PAPER_SPACE
        if num_classes:
            self.neck = nn.BatchNorm1d(16)
            self.neck.bias.requires_grad_(False)
            self.classifier = nn.Linear(16, num_classes, bias=False)

    def offered_alphas(self) -> torch.Tensor:
        return self.alphas

    def weight_parameters(self) -> list[Tensor]:
        return [p for p in self.parameters() if p is not self.alphas and p.requires_grad]

    def logits(self, features_BD: Tensor) -> Tensor:
        return self.classifier(self.neck(features_BD))

    def forward(self, images_BCHW: Tensor, mixture: object = None) -> Tensor:
        """Return the feature of the mixture softmax(α), the only one that these tests use."""
        x_BD = adaptive_avg_pool2d(images_BCHW, (4, 2)).flatten(1)
        outputs_BSOF = torch.einsum("bd,sodf->bsof", x_BD, self.weight_SODF).tanh()
        return torch.einsum("bsof,so->bf", outputs_BSOF, self.offered_alphas().softmax(1))


class Contrast:
    """The twins contrastive mechanism, in which each side has its own memory."""

    def __init__(self, contrastive: Callable[..., Tensor], update: Callable[..., None], dim: int) -> None:
        self.contrastive, self.update = contrastive, update
        self.memories = {"train": torch.zeros(8, dim), "valid": torch.zeros(4, dim)}

    def loss(self, side: str, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        return self.contrastive(features_BD, labels_B, self.memories[side])

    def after_step(self, side: str, features_BD: Tensor, labels_B: Tensor) -> None:
        self.update(self.memories[side], features_BD.detach(), labels_B)


class Classify:
    """The softmax supervision, which keeps no memory and treats both sides alike."""

    def __init__(self, loss: Callable[..., Tensor], network: nn.Module) -> None:
        self.network, self.classify = network, loss

    def loss(self, side: str, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        return self.classify(features_BD, labels_B, self.network)

    def after_step(self, side: str, features_BD: Tensor, labels_B: Tensor) -> None:
        pass


def quick_softmax(features_BD: Tensor, labels_B: Tensor, network: nn.Module) -> Tensor:
    return cross_entropy(network.logits(features_BD), labels_B)


@pytest.mark.parametrize(
    ("supervision", "network", "teacher", "tolerance"),
    [
        ("tcm", Supernet, lambda copied: Contrast(memory_contrastive, update_memory, 512), 0.0),
        ("tcm", Gentle, lambda copied: Contrast(slow_contrastive, slow_update, 16), 1e-5),
        ("softmax", Supernet, lambda copied: Classify(quick_softmax, copied), 0.0),
        ("softmax", Gentle, lambda copied: Classify(slow_softmax, copied), 1e-5),
    ],
    ids=["tcm", "tcm_slow", "softmax", "softmax_slow"],
)
def test_an_epoch_equals_an_obvious_loop(tiny, supervision, network, teacher, tolerance):
    recipe = replace(SUPERVISED[supervision], epochs=1, warmup_epochs=0)
    search = new_search(tiny, recipe, network)
    copied = copy.deepcopy(search.supernet).train()
    started = {name: p.detach().clone() for name, p in copied.named_parameters()}
    (report,) = search_epochs(search)

    teacher = teacher(copied)
    weights = [p for p in copied.parameters() if p is not copied.alphas and p.requires_grad]
    sgd = torch.optim.SGD(weights, lr=0.025, momentum=0.9, weight_decay=5e-4)
    adam = torch.optim.Adam([copied.alphas], lr=0.002, betas=(0.5, 0.999), weight_decay=1e-3)
    losses = {"train": [], "valid": []}
    valid_batches = batches_of(tiny, "valid", recipe).cycling(0)
    for train_batch in batches_of(tiny, "train", recipe).epoch(0):
        for side, batch, optimizer in (("valid", next(valid_batches), adam), ("train", train_batch, sgd)):
            copied.zero_grad()
            features_BD = copied(batch.images_BCHW)
            loss = teacher.loss(side, features_BD, batch.labels_B)
            loss.backward()
            optimizer.step()
            teacher.after_step(side, features_BD, batch.labels_B)
            losses[side].append(loss.item())

    assert report.steps == len(losses["train"]) >= 3
    assert report.train_loss == pytest.approx(sum(losses["train"]) / report.steps, rel=1e-5)
    assert report.valid_loss == pytest.approx(sum(losses["valid"]) / report.steps, rel=1e-5)
    assert_close = partial(torch.testing.assert_close, rtol=0, atol=tolerance)
    if supervision == "tcm":
        assert_close(search.train_memory, teacher.memories["train"])
        assert_close(search.valid_memory, teacher.memories["valid"])
    for (name, actual), expected in zip(search.supernet.named_parameters(), copied.parameters(), strict=True):
        assert_close(actual, expected)
        assert torch.allclose(actual, started[name], rtol=0, atol=10 * tolerance) != actual.requires_grad


def test_the_validation_side_cycles(tiny, monkeypatch):
    search = new_search(tiny, replace(RECIPE, epochs=1))
    seen: list[list[int]] = []
    step = search.alpha_step

    def recording(batch):
        seen.append(batch.indices_B.tolist())
        return step(batch)

    monkeypatch.setattr(search, "alpha_step", recording)
    (report,) = search_epochs(search)
    assert len(seen) == report.steps > len(list(search.valid.epoch(0)))
    assert seen == [batch.indices_B.tolist() for batch in itertools.islice(search.valid.cycling(0), len(seen))]


def test_reports_hold_alphas_history_and_the_genotype(straight):
    reports = straight.reports
    alphas_by_epoch = [state["supernet"]["alphas"] for state in straight.states if state["next_step"] == 0]
    assert [report.epoch for report in reports] == [0, 1, 2]
    assert not torch.equal(alphas_by_epoch[0], alphas_by_epoch[1])
    for report, alphas in zip(reports, alphas_by_epoch, strict=True):
        assert report.alphas == alphas.tolist()
        assert report.genotype.letters == "".join("NGAE"[row.index(max(row))] for row in report.alphas)
        assert report.seconds > 0


def test_reports_hold_the_schedule(straight):
    reports = straight.reports
    assert [report.lr for report in reports] == pytest.approx([0.025 * f for f in (0.01, 0.505, 0.1)])
    assert [report.alpha_lr for report in reports] == pytest.approx([0.002 * f for f in (1, 0.1, 0.1)])


class Stop(Exception):
    """An interruption."""


def stop() -> None:
    raise Stop


def test_a_search_that_is_interrupted_at_every_step_is_the_same_bit_for_bit(tiny, straight, tmp_path):
    """Every step is run by a new object, which knows only the saved state."""
    search, reports, states = straight
    steps = sum(report.steps for report in reports)
    assert len(states) == steps > 2 * len(reports)
    continued = []
    for number in range(steps):
        fresh = new_search(tiny, search.recipe, seed=number)
        if number:
            fresh.load_state_dict(load_state(tmp_path / "state.pt"))
        with contextlib.suppress(Stop):
            continued.append(next(search_epochs(fresh, stop)))
        state = fresh.state_dict()
        save_state(tmp_path / "state.pt", state)
        assert_same_state({**state, "seconds": 0}, {**states[number], "seconds": 0})
    assert list(map(without_seconds, continued)) == list(map(without_seconds, reports))
    assert [(state["next_epoch"], state["next_step"]) for state in states] == [
        (report.epoch + step // report.steps, step % report.steps)
        for report in reports
        for step in range(1, report.steps + 1)
    ]
    if search.recipe.supervision == "tcm":
        assert fresh.train_memory.norm(dim=1) == pytest.approx([1] * 8)
    assert list(search_epochs(fresh)) == []


def test_a_loss_that_is_no_number_ends_the_search(tiny):
    search = new_search(tiny)
    with torch.no_grad():
        search.supernet.backbone.stem.conv.weight[0] = math.nan
    with pytest.raises(ValueError, match=r"must stay finite, but epoch 0 gave \[nan, nan\].*`lr`"):
        next(search_epochs(search))
    assert search.next_epoch == 0


@pytest.mark.parametrize("supervision", SUPERVISED)
def test_bf16(tiny, supervision):
    search = with_filled_memories(new_search(tiny, replace(SUPERVISED[supervision], precision="bf16")))
    seen = set()
    search.supernet.backbone.stem.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    search.supernet.train()
    losses = search.alpha_step(next(search.valid.epoch(0))), search.weight_step(next(search.train.epoch(0)))
    assert seen == {torch.bfloat16}
    assert all(0 < loss < math.inf for loss in losses)
    values = [value for value in flat(search.state_dict()).values() if isinstance(value, Tensor)]
    assert all(value.isfinite().all() for value in values)
    assert torch.bfloat16 not in {value.dtype for value in values}


def test_batches_must_be_the_recipes(tiny):
    other = replace(RECIPE, batch_size=8, num_instances=4)
    train, valid = tiny.batches("train", RECIPE), tiny.batches("valid", other)
    with pytest.raises(ValueError, match=r"4 identities × 2 images .* those of the validation side are 2 × 4"):
        Search(Supernet(), train, valid, RECIPE, CPU)


def test_the_sides_share_one_numbering_under_softmax(tiny):
    search = new_search(tiny, SUPERVISED["softmax"])
    train, valid = (set(batches.labels.tolist()) for batches in (search.train, search.valid))
    assert (train, valid) == (set(range(8)), set(range(8, 12)))
    assert search.supernet.classifier.weight.shape == (12, 512)


@pytest.mark.parametrize(
    ("num_classes", "train", "valid", "supervision", "message"),
    [
        (None, "softmax", "softmax", "softmax", r"the supernet has None and the training side has 12"),
        (12, "tcm", "softmax", "softmax", r"the supernet has 12 and the training side has 8"),
        (12, "softmax", "tcm", "softmax", r"the supernet has 12 and the validation side has 4"),
        (12, "tcm", "tcm", "tcm", r"must be built without `num_classes`, but got 12"),
        (None, "tcm", "softmax", "tcm", r"the validation side show 4 of 12 classes"),
    ],
)
def test_the_supervision_must_fit_the_supernet_and_the_labels(tiny, num_classes, train, valid, supervision, message):
    sides = batches_of(tiny, "train", SUPERVISED[train]), batches_of(tiny, "valid", SUPERVISED[valid])
    with pytest.raises(ValueError, match=message):
        Search(Supernet(num_classes), *sides, SUPERVISED[supervision], CPU)
