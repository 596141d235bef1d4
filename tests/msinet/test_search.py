"""The search: each side changes only what is its own, and an epoch is what a slow obvious loop computes."""

import copy
import itertools
import math
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from conftest import Tiny
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from msinet.engine.recipes import SearchRecipe
from msinet.engine.search import Search, SearchReport, search_epochs
from msinet.engine.state import load_state, save_state
from msinet.losses import memory_contrastive, update_memory
from msinet.models import Supernet

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


def new_search(tiny: Tiny, recipe: SearchRecipe = RECIPE, network: type[nn.Module] = Supernet, seed: int = 0) -> Search:
    torch.manual_seed(seed)
    return Search(network(), tiny.batches("train", recipe), tiny.batches("valid", recipe), recipe, CPU)


def with_filled_memories(search: Search) -> Search:
    """A zero memory, as at first, gives no gradient."""
    for memory in (search.train_memory, search.valid_memory):
        memory.copy_(normalize(torch.randn_like(memory)))
    return search


def flat(state: dict, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries and lists as one, by path."""
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


@pytest.fixture(scope="module")
def straight(tiny: Tiny) -> tuple[Search, list[SearchReport], list[Tensor]]:
    """Three epochs at a stretch, their reports, and α after each."""
    search = new_search(tiny)
    reports, alphas = [], []
    for report in search_epochs(search):
        reports.append(report)
        alphas.append(search.supernet.alphas.detach().clone())
        search.supernet.eval()  # what a listener does to the network must not matter
    return search, reports, alphas


@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_step_changes_nothing_but_its_own_side(tiny, side):
    search = with_filled_memories(new_search(tiny))
    search.supernet.train()
    weights = {f"supernet.{name}" for name, p in search.supernet.named_parameters() if p is not search.supernet.alphas}
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
    assert {key for key in changed if not key.startswith(optimizer)} == own | statistics | {f"{side}_memory"}
    without_gradient = {f"supernet.{name}" for name, p in search.supernet.named_parameters() if p.grad is None}
    assert without_gradient == (weights | {"supernet.alphas"}) - own


@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_step_takes_the_gradient_of_the_whole_loss(tiny, side):
    search = with_filled_memories(new_search(tiny))
    network = copy.deepcopy(search.supernet).train()
    search.supernet.train()
    batch = next((search.train if side == "train" else search.valid).epoch(0))
    memory = (search.train_memory if side == "train" else search.valid_memory).clone()
    loss = memory_contrastive(network(batch.images_BCHW), batch.labels_B, memory, 0.05)
    loss.backward()
    assert (search.weight_step if side == "train" else search.alpha_step)(batch).item() == loss.item()
    expected = dict(network.named_parameters())
    compared = [(p.grad, expected[name].grad) for name, p in search.supernet.named_parameters() if p.grad is not None]
    assert len(compared) == (len(expected) - 1 if side == "train" else 1)
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


class Gentle(nn.Module):
    """A small smooth network with α: in the supernet, rounding errors grow too fast for a loop in other arithmetic."""

    feature_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.weight_SODF = nn.Parameter(torch.randn(12, 4, 24, 16))
        self.alphas = nn.Parameter(1e-3 * torch.randn(12, 4))

    def weight_parameters(self) -> list[Tensor]:
        return [self.weight_SODF]

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x_BD = adaptive_avg_pool2d(images_BCHW, (4, 2)).flatten(1)
        outputs_BSOF = torch.einsum("bd,sodf->bsof", x_BD, self.weight_SODF).tanh()
        return torch.einsum("bsof,so->bf", outputs_BSOF, self.alphas.softmax(1))


@pytest.mark.parametrize(
    ("network", "contrastive", "update", "tolerance"),
    [(Supernet, memory_contrastive, update_memory, 0.0), (Gentle, slow_contrastive, slow_update, 1e-5)],
)
def test_an_epoch_equals_an_obvious_loop(tiny, network, contrastive, update, tolerance):
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0)
    search = new_search(tiny, recipe, network)
    copied = copy.deepcopy(search.supernet).train()
    started = {name: p.detach().clone() for name, p in copied.named_parameters()}
    (report,) = search_epochs(search)

    weights = [p for p in copied.parameters() if p is not copied.alphas]
    sgd = torch.optim.SGD(weights, lr=0.025, momentum=0.9, weight_decay=5e-4)
    adam = torch.optim.Adam([copied.alphas], lr=0.002, betas=(0.5, 0.999), weight_decay=1e-3)
    memories = {"train": torch.zeros(8, copied.feature_dim), "valid": torch.zeros(4, copied.feature_dim)}
    losses = {"train": [], "valid": []}
    valid_batches = tiny.batches("valid", recipe).cycling(0)
    for train_batch in tiny.batches("train", recipe).epoch(0):
        for side, batch, optimizer in (("valid", next(valid_batches), adam), ("train", train_batch, sgd)):
            copied.zero_grad()
            features_BD = copied(batch.images_BCHW)
            loss = contrastive(features_BD, batch.labels_B, memories[side])
            loss.backward()
            optimizer.step()
            update(memories[side], features_BD.detach(), batch.labels_B)
            losses[side].append(loss.item())

    assert report.steps == len(losses["train"]) >= 3
    assert report.train_loss == pytest.approx(sum(losses["train"]) / report.steps, rel=1e-5)
    assert report.valid_loss == pytest.approx(sum(losses["valid"]) / report.steps, rel=1e-5)
    assert_close = partial(torch.testing.assert_close, rtol=0, atol=tolerance)
    assert_close(search.train_memory, memories["train"])
    assert_close(search.valid_memory, memories["valid"])
    for (name, actual), expected in zip(search.supernet.named_parameters(), copied.parameters(), strict=True):
        assert_close(actual, expected)
        assert not torch.allclose(actual, started[name], rtol=0, atol=10 * tolerance)


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
    _, reports, alphas_by_epoch = straight
    assert [report.epoch for report in reports] == [0, 1, 2]
    assert not torch.equal(alphas_by_epoch[0], alphas_by_epoch[1])
    for report, alphas in zip(reports, alphas_by_epoch, strict=True):
        assert report.alphas == alphas.tolist()
        assert report.genotype.letters == "".join("NGAE"[row.index(max(row))] for row in report.alphas)
        assert report.seconds > 0


def test_reports_hold_the_schedule(straight):
    _, reports, _ = straight
    assert [report.lr for report in reports] == pytest.approx([0.025 * f for f in (0.01, 0.505, 0.1)])
    assert [report.alpha_lr for report in reports] == pytest.approx([0.002 * f for f in (1, 0.1, 0.1)])


def test_a_continued_search_ends_at_the_same_bits(tiny, straight, tmp_path):
    search, reports, _ = straight
    interrupted = new_search(tiny)
    first = next(search_epochs(interrupted))
    save_state(tmp_path / "state.pt", interrupted.state_dict())
    fresh = new_search(tiny, seed=1)
    fresh.load_state_dict(load_state(tmp_path / "state.pt"))
    continued = [first, *search_epochs(fresh)]
    assert list(map(without_seconds, continued)) == list(map(without_seconds, reports))
    assert_same_state(fresh.state_dict(), search.state_dict())
    assert fresh.train_memory.norm(dim=1) == pytest.approx([1] * 8)
    assert list(search_epochs(fresh)) == []


def test_a_loss_that_is_no_number_ends_the_search(tiny):
    search = new_search(tiny)
    with torch.no_grad():
        search.supernet.backbone.stem.conv.weight[0] = math.nan
    with pytest.raises(ValueError, match=r"must stay finite, but epoch 0 gave \[nan, nan\].*`lr`"):
        next(search_epochs(search))
    assert search.next_epoch == 0


def test_bf16(tiny):
    search = with_filled_memories(new_search(tiny, replace(RECIPE, precision="bf16")))
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
    with pytest.raises(ValueError, match=r"4 identities × 2 images .* the validation side's are 2 × 4"):
        Search(Supernet(), train, valid, RECIPE, CPU)
