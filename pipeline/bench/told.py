"""What `msinet bench replay` prints and draws."""

from pathlib import Path

from msinet.bench import genotype_share, warning
from msinet.bench.spread import share_text
from msinet.files import written_whole
from msinet.visual.curves import FORMATS, draw_curves
from pipeline.bench.replay import Array
from pipeline.bench.versus import Versus
from pipeline.errors import RequestError
from pipeline.reports.console import aligned

FRONT = "mean mAP of the choices under all limits on the parameters, %"
CHOICE = "mAP of the choice, %"


def text(result: Versus) -> str:
    """Return the result of a replay for a terminal."""
    name, table, target, criterion = result.name, result.table, result.target, result.criterion
    found, curves, front = result.found, result.curves, result.front
    repeats, budget = found.values_RB.shape
    shown = sorted({*(number for number in _round_numbers() if number < budget), budget})
    best = None if front else 100 * float(table.mean_G.max())
    header = ["trainings", "hours", *curves, *([] if best is None else ["regret"])]
    rows = [
        [
            str(spent),
            f"{spent * table.hours:.1f}",
            *[_interval(100 * curve[:, spent - 1], signed=name == "difference") for name, curve in curves.items()],
            *([] if best is None else [f"{best - 100 * curves[name][0, spent - 1]:.1f}"]),
        ]
        for spent in shown
    ]
    lines = [
        f"{name} on {target.name}, recipe {target.recipe[:8]}: {len(table.genotypes)} genotypes, {repeats} repeats",
        *([f"choices by {criterion.name}, recipe {criterion.recipe[:8]}"] if criterion is not target else []),
        "",
        aligned([header, *rows]),
        "",
        f"Values: {FRONT if front else CHOICE}, by the seed that was put aside. They are means over the repeats, with "
        "95 % intervals in brackets.",
    ]
    if best is not None:
        lines.append(
            f"Regret: points below {best:.1f} %, the highest mean of a genotype over all of its seeds, which is partly "
            f"luck. The mean of all genotypes is {100 * table.mean_G.mean():.1f} %."
        )
    if found.distance is not None:
        lines.append(
            f"Proposals that are not in the table were replaced by the nearest genotype: it differs in "
            f"{found.distance:.1f} of 12 slots on average."
        )
    if "difference" in curves:
        lines.append(verdict(name, curves["difference"]))
    for group in dict.fromkeys([target, criterion]):
        share = genotype_share(group)
        lines.append(f"Share of the variance of {group.name} that is the genotype's: {share_text(share)}.")
        if sentence := warning(share):
            lines.append(f"warning: {sentence}")
    return "\n".join(lines)


def verdict(name: str, difference: Array) -> str:
    """Return a sentence on whether a scheme is better than random search at the end of the budget."""
    budget, (_, low, high) = difference.shape[1], difference[:, -1]
    if low > 0:
        told = "is better than random search"
    elif high < 0:
        told = "is worse than random search"
    else:
        told = "cannot be told from random search"
    return f"After {budget} trainings {name} {told}: {_interval(100 * difference[:, -1], signed=True)} points."


def require_picture(path: Path) -> None:
    """Make sure that a plot can be written to a path.

    Raises:
        RequestError: The path's ending is not that of a picture.
    """
    if path.suffix not in FORMATS:
        raise RequestError(f"a plot must have a name that ends in {' or '.join(FORMATS)}, but got {path} (--plot).")


def draw(result: Versus, path: Path) -> None:
    """Write the plot of the scheme's curve and that of random search."""
    shown = {label: 100 * curve for label, curve in result.curves.items() if label != "difference"}
    lines = {} if result.front else {"best mean of the table": 100 * float(result.table.mean_G.max())}
    labels = (f"{result.name} on {result.target.name}", "trainings", FRONT if result.front else CHOICE)
    picture = draw_curves(shown, lines, labels, path)
    with written_whole(path) as file:
        file.write(picture)


def _interval(points: Array, *, signed: bool) -> str:
    mean, low, high = ((f"{value:+.1f}" if signed else f"{value:.1f}").replace("-", "−") for value in points)
    return f"{mean} [{low}, {high}]"


def _round_numbers() -> list[int]:
    return [factor * 10**power for power in range(6) for factor in (1, 2, 5)]
