"""The curves of a run in MLflow: the numbers of each epoch, and the plots and figures of a finished search."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from msinet.engine.certainty import certainty_of, epoch_figures, likely_genotypes, read_alphas
from msinet.spaces import Space
from pipeline.results import Report
from pipeline.tracking.client import Client
from pipeline.tracking.facts import milliseconds

# The server takes at most 1000 numbers at a time, and an epoch has about a dozen. No epoch is written in part.
EPOCHS_PER_BATCH = 50
PLOTS = ("alphas.png", "certainty.png")  # artifacts of a search


class Curves:
    """The numbers of epochs in MLflow, each written once.

    Args:
        client: MLflow's client.
        space: Space of the searches.
    """

    def __init__(self, client: Client, space: Space) -> None:
        self.client, self.space = client, space
        self._logged: dict[tuple[str, str], set[int]] = {}  # (run, name of a curve) -> epochs that it has

    def log(self, run: str, reports: Sequence[Report], times: Sequence[float]) -> None:
        """Log the epochs that the run does not have yet, and how sure a search is after each of them.

        Args:
            run: Id of the run.
            reports: Numbers of each epoch.
            times: When each epoch ended, in seconds since the epoch.
        """
        self._log(run, "seconds", _numbers, reports, times)
        if any(report.get("alphas") for report in reports):
            self._log(run, "entropy", self._certainty, reports, times)

    def _log(
        self,
        run: str,
        marker: str,
        figures: Callable[[Report], dict[str, float]],
        reports: Sequence[Report],
        times: Sequence[float],
    ) -> None:
        """Log figures of the epochs that the curve `marker` lacks, which is one of them."""
        from mlflow.entities import Metric

        there = self._logged.setdefault((run, marker), set()) or {
            point.step for point in self.client.get_metric_history(run, marker)
        }
        stamped = zip(reports, times, strict=True)
        missing = [(report, milliseconds(at)) for report, at in stamped if report["epoch"] not in there]
        for first in range(0, len(missing), EPOCHS_PER_BATCH):
            metrics = [
                Metric(name, float(value), at, report["epoch"])
                for report, at in missing[first : first + EPOCHS_PER_BATCH]
                for name, value in figures(report).items()
            ]
            self.client.log_batch(run, metrics=metrics)
        self._logged[run, marker] = there | {report["epoch"] for report, _ in missing}

    def _certainty(self, report: Report) -> dict[str, float]:
        return epoch_figures(report["alphas"], self.space.columns) if report.get("alphas") else {}


def _numbers(report: Report) -> dict[str, float]:
    unshown = ("epoch", "epochs", "pid")
    return {n: value for n, value in report.items() if isinstance(value, int | float) and n not in unshown}


def search_figures(history: str, space: Space) -> dict[str, float]:
    """Return figures of a finished search, from its history; none if its scheme has no α.

    Returns:
        `stands_since`: first epoch, counted from 0, since which the genotype stands; `times_random`: how many times as
        probable as a random genotype it is under the final mixture; `second_to_first`: probability of the second
        genotype over that of the first; and, from four epochs on, `flip`: mean probability of a slot to flip.
    """
    alphas = read_alphas(history)
    if not alphas:
        return {}
    found = certainty_of(alphas, space.columns)
    (_, first), (_, second) = likely_genotypes(alphas[-1], 2, space.column_letters)
    figures = {
        "stands_since": float(found.stands_since),
        "times_random": first * space.size,
        "second_to_first": second / first,
        "flip": float(found.flip_S.mean()),
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


@lru_cache(maxsize=8)  # a server that does not answer makes the same plots needed again
def search_plots(history: str, space: Space) -> dict[str, bytes]:
    """Return the plots of a finished search as PNG files by name, from its history; none if its scheme has no α."""
    alphas = read_alphas(history)
    if not alphas:
        return {}
    from msinet.visual.alphas import draw_certainty, draw_mixtures
    from msinet.visual.figures import png_of

    found = certainty_of(alphas, space.columns)
    drawn = draw_mixtures(found, space.columns, space.column_letters), draw_certainty(found, space.columns)
    return dict(zip(PLOTS, map(png_of, drawn), strict=True))
