"""The time of a search step: it updates α on one batch, then the weights on another batch, with both memories."""

import copy
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from harness import (
    Contender,
    Load,
    apart,
    arguments,
    begin,
    forward_macs,
    image_arguments,
    print_table,
    race,
    random_batches,
    released,
    require,
)
from torch import nn

from msinet.data.loaders import Batch
from msinet.engine.optim import recipe_lr, set_lr
from msinet.engine.search import Search
from msinet.losses import memory_contrastive, update_memory
from msinet.models.supernet import Supernet
from msinet.recipes import SearchRecipe

SHARED_CELL = 1  # this cell is equally wide in both; cells that widen are narrower in the released supernet


class ReleasedSearch:
    """The released supernet, memories and optimisers, with a step in the order of the released loop."""

    def __init__(self, load: Load, recipe: SearchRecipe, num_classes: int, device: torch.device) -> None:
        memory = load("reid.models.cm").ClusterMemory
        self.memory, valid_memory = (memory(512, num_classes).to(device) for _ in range(2))
        self.supernet: Any = load("reid.models.search_cnn").build_search_model(valid_memory, num_classes)
        self.supernet.to(device)
        settings = SimpleNamespace(
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            milestones=list(recipe.milestones),
            warmup_step=recipe.warmup_epochs,
            arch_lr=recipe.alpha_lr,
            arch_weight_decay=recipe.alpha_weight_decay,
        )
        self.optimizer, _ = load("reid.solver").build_optimizer(settings, self.supernet)
        self.architect = load("reid.engine.searcher").Architect(settings, self.supernet)

    def step(self, train: Batch, valid: Batch) -> None:
        self.optimizer.zero_grad()
        self.architect.step(valid.images_BCHW.contiguous(), valid.labels_B)
        features_BD, _ = self.supernet(train.images_BCHW.contiguous())
        self.memory(features_BD, train.labels_B).backward()
        self.optimizer.step()


def check_cell(ours: Any, theirs: Any, device: torch.device) -> None:
    """Compare a cell of equal width in both supernets, with the same weights and the same mixture of operations."""
    own, other = copy.deepcopy(ours), copy.deepcopy(theirs)
    for name, parameter in own.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.7)
    other.load_state_dict(dict(zip(other.state_dict(), own.state_dict().values(), strict=True)))
    x_BCHW = torch.randn(4, 256, 16, 8, device=device)
    mixture_SO = torch.randn(2, 4, device=device).softmax(1)
    require("a mixed cell", apart(own(x_BCHW, list(mixture_SO)), other(x_BCHW, mixture_SO)), 1e-5)


def check_memory(theirs: Any, recipe: SearchRecipe, labels_B: torch.Tensor) -> None:
    """Compare the contrastive loss of random features, and the memory after it."""
    theirs = copy.deepcopy(theirs)
    theirs.features.normal_()
    theirs.features /= theirs.features.norm(dim=1, keepdim=True)
    memory_KD = theirs.features.clone()
    features_BD = torch.randn(len(labels_B), memory_KD.shape[1], device=labels_B.device)
    loss = memory_contrastive(features_BD, labels_B, memory_KD, recipe.temperature)
    update_memory(memory_KD, features_BD, labels_B, recipe.memory_momentum)
    their_loss = theirs(features_BD.requires_grad_(), labels_B)
    their_loss.backward()
    require("contrastive loss", apart(loss, their_loss), 1e-5)
    require("memory after it", apart(memory_KD, theirs.features), 1e-5)


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__)
    image_arguments(parser, batch_size=64)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="precision of ours")
    args, device = begin(parser, argv)

    recipe = SearchRecipe(batch_size=args.batch_size, precision=args.precision)
    train, valid = (random_batches(recipe, args.image_size, device) for _ in range(2))
    train_batch, valid_batch = next(train.epoch(0)), next(valid.epoch(0))
    search = Search(Supernet(), train, valid, recipe, device)
    set_lr(search.weight_optimizer, recipe_lr(recipe, 0))
    macs = forward_macs(search.supernet, args.image_size)
    search.supernet.train()
    step = partial(search.step, (train_batch, valid_batch))
    contenders = [Contender("search step: ours", 2 * args.batch_size, step, macs, keeps_memory=True)]
    if args.reference:
        peer = ReleasedSearch(released(args.reference, device), recipe, train.num_classes, device)
        check_cell(search.supernet.backbone.cells[SHARED_CELL], peer.supernet.cells[SHARED_CELL], device)
        check_memory(peer.memory, recipe, train_batch.labels_B)
        macs = forward_macs(peer.supernet, args.image_size)
        peer.supernet.train()
        run = partial(peer.step, train_batch, valid_batch)
        contenders.append(Contender("search step: released", 2 * args.batch_size, run, macs))
    race(contenders, args, device)
    print_table(contenders)
    if args.reference:
        ours, theirs = contenders
        wider = (ours.macs or 0) / (theirs.macs or 1)
        print(
            f"\nours computes {wider:.2f} times as many multiply-accumulates; for each of them the released step takes "
            f"{wider * theirs.median / ours.median:.2f} times as long"
        )
    return contenders


if __name__ == "__main__":
    main()
