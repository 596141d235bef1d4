"""The time of a training step of MSINet with both heads, with and without the spatial alignment."""

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
    quiet,
    race,
    random_batches,
    released,
    require,
)
from torch import Tensor

from msinet.data.loaders import Batch
from msinet.engine.optim import recipe_lr, set_lr
from msinet.engine.train import Training
from msinet.interop.released import from_released_names
from msinet.models import build_model
from msinet.recipes import TrainRecipe

TOTAL_STRIDE = 16  # image side divided by the side of the map that is aligned


class ReleasedTraining:
    """The released network, loss and optimiser, with a step as in the released loop."""

    def __init__(
        self, load: Load, recipe: TrainRecipe, num_classes: int, size_HW: tuple[int, int], device: torch.device
    ) -> None:
        settings = SimpleNamespace(
            genotypes="msmt",
            pretrained=False,
            source_dataset="msmt17",
            sam_mode=recipe.alignment,
            sam_ratio=recipe.alignment_weight,
            margin=recipe.margin,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            milestones=list(recipe.milestones),
            warmup_step=recipe.warmup_epochs,
        )
        with quiet():
            self.model: Any = load("reid.models.msinet").msinet_x1_0(settings, num_classes).to(device)
        if recipe.alignment != "none":  # the released module is made only for 256×128
            correlation = self.model.align_module.qaconv
            correlation.height, correlation.width = (side // TOTAL_STRIDE for side in size_HW)
        self.criterion = load("reid.criterion").build_criterion(settings, num_classes)
        self.optimizer, _ = load("reid.solver").build_optimizer(settings, self.model)

    def step(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad()
        feature, logits, part_feature, part_logits, scores = self.model(batch.images_BCHW.contiguous())
        loss = self.criterion(feature, logits, scores, batch.labels_B, sam=True)
        loss = loss + self.criterion(part_feature, part_logits, scores, batch.labels_B)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def check_step(ours: Training, theirs: ReleasedTraining, batch: Batch) -> None:
    """Compare loss and gradients of one step of both, from the same weights, on two identities.

    The comparison is in float64. In float32 the gradients of a batch depend on the order of sums, and so on the memory
    layout, by several percent.
    """
    ours.model.load_state_dict(from_released_names(theirs.model.state_dict()))
    if ours.alignment is not None:
        attention = theirs.model.align_module.pos_pam
        ours.alignment.query.load_state_dict(attention.query_conv.state_dict())
        ours.alignment.key.load_state_dict(attention.key_conv.state_dict())
    for network in (ours.model, theirs.model):  # our losses always compute in float32
        network.double().train()
    few = slice(2 * ours.recipe.num_instances)
    batch = Batch(batch.images_BCHW[few].double(), batch.labels_B[few], batch.indices_B[few])
    identity, triplet, alignment, _ = ours.step(batch)
    loss = identity + triplet + ours.recipe.alignment_weight * alignment
    name = f"alignment {ours.recipe.alignment}"
    require(f"{name}: loss", apart(loss, theirs.step(batch)), 1e-5)
    own = {name: p.grad for name, p in ours.model.named_parameters() if p.requires_grad}
    other = from_released_names({name: p.grad for name, p in theirs.model.named_parameters() if p.requires_grad})
    own_P, other_P = (torch.cat([gradients[name].flatten() for name in own]) for gradients in (own, other))
    require(f"{name}: gradients", ((own_P - other_P).norm() / other_P.norm()).item(), 1e-4)


def pair(args: Any, recipe: TrainRecipe, device: torch.device) -> list[Contender]:
    """Return our step, and if a checkout is given, the released step, after comparing both."""
    batches = random_batches(recipe, args.image_size, device)
    batch = next(batches.epoch(0))

    def ours() -> Training:
        model = build_model("msinet", num_classes=batches.num_classes, genotype="MSINet")
        training = Training(model, batches, recipe, device)
        set_lr(training.optimizer, recipe_lr(recipe, 0))
        return training

    training = ours()
    macs = forward_macs(training.model, args.image_size)
    training.model.train()
    name = "training step" + ("" if recipe.alignment == "none" else f", {recipe.alignment}")
    contenders = [Contender(f"{name}: ours", args.batch_size, partial(training.step, batch), macs, keeps_memory=True)]
    if args.reference:
        load = released(args.reference, device)

        def theirs() -> ReleasedTraining:
            return ReleasedTraining(load, recipe, batches.num_classes, args.image_size, device)

        if recipe.precision == "float32":
            check_step(ours(), theirs(), batch)
        peer = theirs()
        peer.model.train()
        contenders.append(Contender(f"{name}: released", args.batch_size, partial(peer.step, batch), macs))
    return contenders


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__)
    image_arguments(parser, batch_size=64)
    parser.add_argument("--alignment", nargs="+", default=["none", "pos_neg"], choices=["none", "pos", "pos_neg"])
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="precision of ours")
    args, device = begin(parser, argv)
    groups = []
    for alignment in args.alignment:
        recipe = TrainRecipe(batch_size=args.batch_size, precision=args.precision, alignment=alignment)
        groups.append(pair(args, recipe, device))
        race(groups[-1], args, device)
    print_table(*groups)
    return [contender for group in groups for contender in group]


if __name__ == "__main__":
    main()
