"""Hours and money that an experiment needs, with our code and with the released code, estimated from measured steps.

    python benchmarks/cost.py configs/paper/table9.yaml --search 5.3 4.2 --training 6.1 5.0 --price 0.05

The rates are the `items/s` that search_step.py and training_step.py print with `--reference`, for our code and for the
released code. The estimate counts searches and retrainings, as if each search found another genotype.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.load import load_experiment
from pipeline.plan.images import images_seen
from pipeline.plan.unfold import plan

CODES = ("OURS", "RELEASED")
IMAGES_OF_A_STEP = {"search": 2, "retrain": 1}  # a search step updates α on a second batch


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--search", type=float, nargs=2, required=True, metavar=CODES, help="images a second")
    parser.add_argument("--training", type=float, nargs=2, required=True, metavar=CODES, help="images a second")
    parser.add_argument("--price", type=float, required=True, help="price of an hour of the device that was measured")
    args = parser.parse_args(argv)

    planned = plan(load_experiment(args.experiment))
    stages = {kind: list(planned.of_kind(kind)) for kind in IMAGES_OF_A_STEP}
    images = {
        kind: IMAGES_OF_A_STEP[kind] * sum(images_seen(planned, stage) for stage in stages[kind]) for kind in stages
    }
    for number, code in enumerate(CODES):
        hours = {
            "search": images["search"] / args.search[number] / 3600,
            "retrain": images["retrain"] / args.training[number] / 3600,
        }
        total = sum(hours.values())
        parts = ", ".join(f"{len(stages[kind])} × {kind}: {hours[kind]:,.0f} h" for kind in stages)
        print(f"{code.lower():9} {total:,.0f} hours, {args.price * total:,.0f} at {args.price:g} an hour ({parts})")


if __name__ == "__main__":
    main()
