"""How the time of each script grows with its input, as lines of text and as a picture, growth.png.

Each curve runs one of the other scripts at several sizes. Options after `--` go to all scripts. A run takes half an
hour on two cores.
"""

import argparse
import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import evaluation
import gallery
import inference
import matplotlib
import reranking
import search_step
import sharing
import training_step
from harness import Contender

matplotlib.use("agg")
from matplotlib import pyplot as plt

FEW = ("--repeats", "1")


@dataclass(frozen=True)
class Curve:
    """One script at several sizes.

    Attributes:
        title: Title of its panel.
        run: Function `main` of the script.
        option: Option whose value grows.
        sizes: Values of that option.
        fixed: Other options.
    """

    title: str
    run: Callable[[Sequence[str]], list[Contender]]
    option: str
    sizes: Sequence[str]
    fixed: Sequence[str] = ()


SMALL = ("--image-size", "64x32", "--batch-size", "16")
CURVES = (
    Curve("evaluation, 1,000 queries", evaluation.main, "--gallery", ["4000", "16000", "64000"], ("--queries", "1000")),
    Curve("re-ranking, 500 queries", reranking.main, "--gallery", ["2000", "8000", "32000"], ("--queries", "500")),
    Curve("50 nearest of 200 queries", gallery.main, "--gallery", ["10000", "40000", "160000"], ("--queries", "200")),
    Curve("inference", inference.main, "--batch-size", ["8", "32", "128"]),
    Curve(
        "inference, batch 32", inference.main, "--image-size", ["64x32", "128x64", "256x128"], ("--batch-size", "32")
    ),
    Curve("training step", training_step.main, "--batch-size", ["8", "16", "32"], ("--alignment", "none")),
    Curve("search step", search_step.main, "--batch-size", ["8", "16", "32"]),
    Curve("searches at once, 64×32", sharing.main, "--concurrent", ["1", "2", "4"], SMALL),
)


def measure(curve: Curve, options: Sequence[str]) -> dict[str, list[Contender]]:
    """Run a script at all sizes. Return the contenders at each size, by what was run."""
    lines: dict[str, list[Contender]] = {}
    for size in curve.sizes:
        with contextlib.redirect_stdout(io.StringIO()):
            contenders = curve.run([*FEW, *curve.fixed, curve.option, size, *options])
        for contender in contenders:
            name = "searches" if curve.run is sharing.main else contender.what
            lines.setdefault(name, []).append(contender)
            print(
                f"{curve.title}, {curve.option.strip('-')} {size}, {contender.what}: {contender.median:.3f} s, "
                f"{contender.items / contender.median:,.1f} items/s",
                flush=True,
            )
    return lines


def draw(curves: Sequence[tuple[Curve, dict[str, list[Contender]]]], path: Path) -> None:
    """Draw a panel for each curve: items a second over the value of its option."""
    columns = 4
    figure, axes = plt.subplots(-(-len(curves) // columns), columns, figsize=(16, 7), squeeze=False)
    for axis, (curve, lines) in zip(axes.flat, curves, strict=False):
        for name, contenders in lines.items():
            rates = [contender.items / contender.median for contender in contenders]
            axis.plot(range(len(rates)), rates, marker="o", label=name.partition(": ")[2] or name)
        axis.set_title(curve.title)
        axis.set_xticks(range(len(curve.sizes)), [f"{int(s):,}" if s.isdigit() else s for s in curve.sizes])
        axis.set_xlabel(curve.option.strip("-").replace("-", " "))
        axis.set_ylabel("queries a second" if "--queries" in curve.fixed else "images a second")
        axis.set_ylim(0, 1.1 * axis.dataLim.ymax)
        axis.legend(fontsize=8)
    for axis in axes.flat[len(curves) :]:
        axis.remove()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path(__file__).with_name("growth.png"))
    parser.add_argument("--only", nargs="+", default=[], help="draw only curves whose title has one of these words")
    parser.add_argument("options", nargs="*", help="options for every script, after `--`, such as --threads 2")
    args = parser.parse_args()
    wanted = [curve for curve in CURVES if not args.only or any(word in curve.title for word in args.only)]
    draw([(curve, measure(curve, args.options)) for curve in wanted], args.to)


if __name__ == "__main__":
    main()
