"""The cost of a step of each search scheme, as a ratio to the mixture, and of scoring a genotype with shared weights.

`GMAC` counts a whole step here: all images, forward and backward. Schemes that draw operations draw others in each
step; their count is a mean over eight steps.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from harness import Contender, arguments, begin, image_arguments, print_table, race, random_batches
from torch.utils.flop_counter import FlopCounterMode

from msinet.data.loaders import TrainBatches
from msinet.data.records import Record
from msinet.engine.evolution import Judge
from msinet.engine.optim import recipe_lr, set_lr
from msinet.engine.search import Search
from msinet.models.supernet import Supernet
from msinet.recipes import SearchRecipe
from msinet.schemes import MIXTURE, SCHEMES, Scheme

COUNTED = 8  # steps whose multiply-accumulates are counted


class Steps:
    """Steps of a search on the same batches, each with the random numbers of another step."""

    def __init__(self, scheme: Scheme, args: argparse.Namespace, device: torch.device) -> None:
        recipe = SearchRecipe(batch_size=args.batch_size, precision=args.precision, scheme=scheme)
        train, valid = (random_batches(recipe, args.image_size, device) for _ in range(2))
        torch.manual_seed(0)
        supernet = Supernet(channel_divisor=scheme.channel_divisor)
        self.search = Search(supernet, train, valid, recipe, device, valid_records=records_of(valid))
        # The last epoch, because some schemes do not train α in the first ones.
        self.search.next_epoch = recipe.epochs - 1
        trains_alphas = scheme.trains_alphas(recipe.epochs - 1, recipe.epochs)
        self.batches = next(train.epoch(0)), next(valid.epoch(0)) if trains_alphas else None
        self.images = args.batch_size * (2 if trains_alphas else 1)
        set_lr(self.search.weight_optimizer, recipe_lr(recipe, 0))
        supernet.train()

    def run(self) -> None:
        self.search.step(self.batches)
        self.search.next_step += 1

    def macs(self) -> float:
        """Return the multiply-accumulates of a step."""
        with FlopCounterMode(display=False) as counter:
            for _ in range(COUNTED):
                self.run()
        return counter.get_total_flops() / 2 / COUNTED


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__)
    image_arguments(parser, batch_size=32)
    parser.set_defaults(image_size=(128, 64))
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="precision of the steps")
    args, device = begin(parser, argv)

    first = MIXTURE.name
    steps = {name: Steps(SCHEMES[name](), args, device) for name in sorted(SCHEMES, key=lambda name: name != first)}
    contenders = [
        Contender(f"search step: {name}", step.images, step.run, step.macs(), keeps_memory=True)
        for name, step in steps.items()
    ]
    search = steps[first].search
    judge = Judge(search.supernet, search.train.store, search.valid.store, records_of(search.valid), device)
    pictures = len(judge.train) + len(judge.valid)
    scored = Contender("score of a genotype", pictures, partial(judge.score, (1, 2, 3, 0) * 3), keeps_memory=True)
    race([*contenders, scored], args, device)
    print_table(contenders, [scored])
    return [*contenders, scored]


def records_of(batches: TrainBatches) -> list[Record]:
    """Return a record without a camera for each picture."""
    return [Record(f"{number}.jpg", label, None, "train") for number, label in enumerate(batches.labels.tolist())]


if __name__ == "__main__":
    main()
