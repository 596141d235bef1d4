"""Two processes compute the same pictures, losses, weights and memories as one process."""

import copy
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore
from msinet.data.samplers import IdentityBatches
from msinet.engine.search import Search, search_epochs
from msinet.engine.state import load_state, save_state
from msinet.engine.train import Training, train_epochs
from msinet.models import Outputs, Supernet, build_model
from msinet.ranks import ALONE, Ranks, synchronise_batch_norm
from msinet.recipes import Alignment, BatchRecipe, SearchRecipe, TrainRecipe
from msinet.spaces import PAPER_SPACE

CPU = torch.device("cpu")
WORLD = 2
TRAIN_IDS, VALID_IDS = 8, 4
SEARCH = SearchRecipe(epochs=2, batch_size=8, num_instances=2, warmup_epochs=0, lr=0.005)
TRAIN = TrainRecipe(epochs=2, batch_size=8, num_instances=2, warmup_epochs=0, lr=0.002)


class Smooth(nn.Module):
    """A small network that can replace a supernet or a model, without kinks, so that rounding errors do not grow.

    Larger networks amplify rounding errors from step to step when their batch norms read the batch.
    """

    feature_dim = map_channels = 16

    def __init__(self, num_classes: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.first = nn.Sequential(nn.Conv2d(3, 16, 5, stride=4, padding=2), nn.BatchNorm2d(16), nn.Tanh())
        self.last = nn.Sequential(nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.Tanh())
        self.neck = nn.BatchNorm1d(16)
        self.classifier = nn.Linear(16, num_classes or 1)

    def forward(self, images_BCHW: Tensor) -> Outputs:
        first = self.first(images_BCHW)
        last = self.last(first)
        features_BD = last.mean((2, 3))
        return Outputs((features_BD,), (self.logits(features_BD),), (first, last))

    def logits(self, features_BD: Tensor) -> Tensor:
        return self.classifier(self.neck(features_BD))


class SmoothSupernet(Smooth):
    def __init__(self, num_classes: int | None) -> None:
        super().__init__(num_classes)
        self.mixed_SODF = nn.Parameter(torch.randn(12, 4, 16, 16) / 16)
        self.alphas = nn.Parameter(1e-3 * torch.randn(12, 4))
        self.choices = (tuple(range(4)),) * 12
        self.space = PAPER_SPACE

    def offered_alphas(self) -> torch.Tensor:
        return self.alphas

    def weight_parameters(self) -> list[Tensor]:
        unused = () if self.num_classes else (*self.neck.parameters(), *self.classifier.parameters())
        excluded = {id(p) for p in (self.alphas, *unused)}
        return [p for p in self.parameters() if id(p) not in excluded]

    def forward(self, images_BCHW: Tensor, mixture: object = None) -> Tensor:
        """Return the feature of the mixture softmax(α), the only one that these tests use."""
        features_BD = self.last(self.first(images_BCHW)).mean((2, 3))
        return torch.einsum("bd,sodf,so->bf", features_BD, self.mixed_SODF, self.offered_alphas().softmax(1))


def random_batches(
    recipe: BatchRecipe, labels: range, ranks: Ranks, stream: str = "train", num_classes: int | None = None
) -> TrainBatches:
    """Return batches of four random pictures of 32×16 for each label."""
    labels_N = np.repeat(np.array(labels), 4)
    pixels = np.random.default_rng(len(labels)).integers(0, 256, (len(labels_N), 32, 16, 3), dtype=np.uint8)
    sampler = IdentityBatches(labels_N, recipe.num_ids, recipe.num_instances, 0, stream)
    store = ImageStore(pixels)
    return TrainBatches(store, labels_N, sampler, recipe.augmentation, 0, "cpu", stream, num_classes, ranks)


def precise(network: nn.Module) -> nn.Module:
    """Change a network to float64: for a nearly tied maximum, rounding in float32 could choose the other gradient."""
    network.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    return network.double()


def new_search(ranks: Ranks, supervision: str, network: type, *, synchronised: bool = False) -> Search:
    """Return a search for which every rank has drawn other weights; it must use those of rank 0."""
    recipe = replace(SEARCH, supervision=supervision)
    everyone = TRAIN_IDS + VALID_IDS if supervision == "softmax" else None
    train = random_batches(recipe, range(TRAIN_IDS), ranks, "train", everyone)
    valid_labels = range(TRAIN_IDS, TRAIN_IDS + VALID_IDS) if everyone else range(VALID_IDS)
    valid = random_batches(recipe, valid_labels, ranks, "valid", everyone)
    torch.manual_seed(ranks.rank)
    supernet = precise(network(everyone))
    if synchronised:
        synchronise_batch_norm(supernet, ranks, CPU)
    return Search(supernet, train, valid, recipe, CPU, ranks)


def new_training(ranks: Ranks, alignment: str, network: type | None = None, *, synchronised: bool = False) -> Training:
    recipe = replace(TRAIN, alignment=alignment)
    torch.manual_seed(ranks.rank)
    model = precise(network(TRAIN_IDS) if network else build_model("msinet", num_classes=TRAIN_IDS, genotype="MSINet"))
    if synchronised:
        synchronise_batch_norm(model, ranks, CPU)
    return Training(model, random_batches(recipe, range(TRAIN_IDS), ranks), recipe, CPU, ranks)


def frozen_search(ranks: Ranks, supervision: str, network: type) -> dict:
    search = new_search(ranks, supervision, network)
    search.supernet.eval()
    batches = zip(search.train.epoch(0), search.valid.cycling(0), strict=False)
    losses = [search.step(pair) for pair in islice(batches, 3)]
    return {"losses": torch.stack(losses), **search.state_dict()}


def frozen_training(ranks: Ranks, alignment: str, network: type | None) -> dict:
    training = new_training(ranks, alignment, network)
    training.model.eval()
    losses = [training.step(batch) for batch in islice(training.batches.epoch(0), 3)]
    return {"losses": torch.stack(losses), **training.state_dict()}


def whole_search(ranks: Ranks, supervision: str) -> dict:
    search = new_search(ranks, supervision, SmoothSupernet, synchronised=True)
    reports = [(report.train_loss, report.valid_loss, report.alphas) for report in search_epochs(search)]
    return {"reports": reports, **search.state_dict()}


class Stop(Exception):
    """An interruption."""


def whole_training(ranks: Ranks, alignment: str) -> dict:
    """Run a training. Several ranks are interrupted on the way and continue from the state that rank 0 has saved."""

    def stop() -> None:
        if training.next_step == 2:
            raise Stop

    training = new_training(ranks, alignment, Smooth, synchronised=True)
    if ranks.world > 1:
        with pytest.raises(Stop):
            list(train_epochs(training, stop))
        states = [copy.deepcopy(training.state_dict())]
        distributed.broadcast_object_list(states, src=0)
        training = new_training(ranks, alignment, Smooth, synchronised=True)
        training.load_state_dict(states[0])
    reports = [{**asdict(report), "seconds": 0.0} for report in train_epochs(training)]
    return {"reports": reports, **training.state_dict()}


def gathered(ranks: Ranks) -> dict:
    """Return the results of `gather`, and its gradient when every rank computes something else from the result."""
    own = (10.0 * ranks.rank + torch.arange(3.0)).requires_grad_()
    together = ranks.gather(own)
    (together * together * (ranks.rank + 1)).sum().backward()
    return {"together": together.detach(), "gradient": own.grad, "labels": ranks.gather(torch.tensor([ranks.rank]))}


def continued_from_different_steps(ranks: Ranks) -> str:
    training = new_training(ranks, "none", Smooth)
    state = {**training.state_dict(), "next_step": ranks.rank}
    with pytest.raises(ValueError, match="all ranks must continue") as raised:
        training.load_state_dict(state)
    return str(raised.value)


COMPARED = {
    "frozen search, the supernet": (frozen_search, "tcm", Supernet),
    "frozen training, MSINet": (frozen_training, "pos_neg", None),
    **{f"frozen search, {name}": (frozen_search, name, SmoothSupernet) for name in ("tcm", "softmax")},
    **{f"whole search, {name}": (whole_search, name) for name in ("tcm", "softmax")},
    **{f"frozen training, {name}": (frozen_training, name, Smooth) for name in get_args(Alignment)},
    **{f"whole training, {name}": (whole_training, name) for name in get_args(Alignment)},
}
EVERYTHING = {**COMPARED, "gathered": (gathered,), "different steps": (continued_from_different_steps,)}


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD)
    results = {name: run(Ranks(rank, WORLD), *args) for name, (run, *args) in EVERYTHING.items()}
    save_state(folder / f"{rank}.pt", results)
    distributed.destroy_process_group()


def test_two_ranks_end_where_one_process_does(tmp_path):
    """This is a single test, because the two processes are slow to start."""
    multiprocessing.spawn(run_rank, (tmp_path,), WORLD)
    by_rank = [load_state(tmp_path / f"{rank}.pt") for rank in range(WORLD)]
    alone = {name: run(ALONE, *args) for name, (run, *args) in COMPARED.items()}
    first, second = ({name: results[name] for name in COMPARED} for results in by_rank)
    for state in (*alone.values(), *first.values(), *second.values()):
        state["seconds"] = 0.0
    torch.testing.assert_close(first, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(second, first, rtol=0, atol=0)  # to the bit
    for rank, results in enumerate(by_rank):
        assert_gathered_with_gradients(results["gathered"], rank)
        message = "all ranks must continue from one saved state, but their [epoch, step] are [[0, 0], [0, 1]]."
        assert results["different steps"] == message


def assert_gathered_with_gradients(result: dict, rank: int) -> None:
    assert result["together"].tolist() == [0, 1, 2, 10, 11, 12]
    assert result["labels"].tolist() == [0, 1]
    own = result["together"][Ranks(rank, WORLD).share(6)]
    assert result["gradient"].equal(2 * own * (1 + 2))  # rank 0 counts it once and rank 1 twice


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_ranks_batches_are_one_process_batches(world):
    parts = [random_batches(TRAIN, range(TRAIN_IDS), Ranks(rank, world)) for rank in range(world)]
    whole = random_batches(TRAIN, range(TRAIN_IDS), ALONE)
    for start in (0, 1):
        together = list(zip(*(list(part.epoch(1, start)) for part in parts), strict=True))
        batches = list(whole.epoch(1, start))
        assert len(together) == len(batches) > 1
        for batch, own in zip(batches, together, strict=True):
            for name, tensor in vars(batch).items():
                assert torch.cat([getattr(part, name) for part in own]).equal(tensor)
            identities = [set(part.labels_B.tolist()) for part in own]
            assert [len(labels) for labels in identities] == [TRAIN.num_ids // world] * world
            assert len(set().union(*identities)) == TRAIN.num_ids


def test_identities_that_cannot_be_divided_are_an_error():
    message = r"`batch_size` / `num_instances`, must be a multiple of `workers`, but got 8 / 2 = 4 and 3 workers"
    with pytest.raises(ValueError, match=message):
        random_batches(TRAIN, range(TRAIN_IDS), Ranks(0, 3))


def test_batches_must_be_of_the_same_ranks():
    batches = random_batches(TRAIN, range(TRAIN_IDS), Ranks(0, 2))
    with pytest.raises(ValueError, match=r"got Ranks\(rank=0, world=2\) and Ranks\(rank=0, world=1\)"):
        Training(Smooth(TRAIN_IDS), batches, TRAIN, CPU)


def test_one_process_exchanges_nothing():
    tensor = torch.ones(2)
    assert ALONE.gather(tensor) is tensor
    assert ALONE.share(6) == slice(0, 6)
    network = Smooth(2)
    before = list(network.modules())
    synchronise_batch_norm(network, ALONE, CPU)
    assert list(network.modules()) == before


@pytest.mark.parametrize("name", ["msinet", "osnet", "resnet50", "supernet"])
def test_every_batch_norm_is_synchronised_and_nothing_else_changes(name):
    options = {"genotype": "MSINet"} if name == "msinet" else {}
    network = Supernet(3) if name == "supernet" else build_model(name, num_classes=3, **options)
    network.eval()
    images_BCHW = torch.randn(2, 3, 32, 16)
    before, state = network(images_BCHW), network.state_dict(keep_vars=True)
    types = [type(module) for module in network.modules()]
    synchronise_batch_norm(network, Ranks(0, 2), CPU)
    assert not {nn.BatchNorm1d, nn.BatchNorm2d} & {type(module) for module in network.modules()}
    changed = {old for old, new in zip(types, map(type, network.modules()), strict=True) if old != new}
    assert changed <= {nn.BatchNorm1d, nn.BatchNorm2d}
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(state)
    assert all(after[key] is state[key] for key in state)
    torch.testing.assert_close(network(images_BCHW), before, rtol=0, atol=0)
    assert not any(module.training for module in network.modules())
