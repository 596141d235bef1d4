"""The time of a score's interval: ours beside SciPy's bootstrap. By default, as many queries as MSMT17's test has."""

import itertools
from collections.abc import Sequence

import numpy as np
from harness import Contender, arguments, begin, print_table, race, require
from scipy.stats import bootstrap

from msinet.statistics import Interval, QueryScores, score_interval
from msinet.statistics.queries import DRAWS


def random_scores(num_queries: int, num_identities: int) -> QueryScores:
    """Return average precisions whose level depends on the query's identity."""
    rng = np.random.default_rng(0)
    pid_Q = np.arange(num_queries) % num_identities
    average_precision_Q = rng.uniform(0.2, 0.8, num_identities)[pid_Q] + rng.uniform(-0.2, 0.2, num_queries)
    return QueryScores.from_columns(
        {"pid": pid_Q, "average_precision": average_precision_Q, "first_match_rank": np.ones(num_queries)}
    )


def scipy_interval(scores: QueryScores, draws: int) -> tuple[float, float]:
    """Return SciPy's percentile interval of the mAP. It draws identities: sums of scores, and numbers of queries."""

    def mean(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
        return sums.sum(axis) / counts.sum(axis)

    found = bootstrap(
        scores.sums("mAP"), mean, paired=True, vectorized=True, method="percentile", n_resamples=draws, rng=0
    )
    return found.confidence_interval


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__)
    parser.add_argument("--queries", type=int, default=11659)
    parser.add_argument("--identities", type=int, default=3060)
    parser.add_argument("--draws", type=int, default=DRAWS)
    args, device = begin(parser, argv)
    scores = random_scores(args.queries, args.identities)
    seeds = itertools.count()  # draws of one seed are kept, and would be free in the next run

    def ours() -> Interval:
        return score_interval([scores], "mAP", draws=args.draws, seed=next(seeds))

    def theirs() -> tuple[float, float]:
        return scipy_interval(scores, args.draws)

    found, (low, high) = ours(), theirs()
    # Ours is wider by the factor for few identities, and both are drawn at random.
    require("the width of the interval", abs((found.high - found.low) / (high - low) - 1), 0.25)
    contenders = [
        Contender("interval of mAP: ours", args.queries, ours),
        Contender("interval of mAP: SciPy", args.queries, theirs),
    ]
    race(contenders, args, device)
    print_table(contenders)
    return contenders


if __name__ == "__main__":
    main()
