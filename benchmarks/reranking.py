"""The time of k-reciprocal re-ranking, from embeddings to scores; the released code computes only the distances."""

from collections.abc import Sequence

import numpy as np
import torch
from harness import (
    Contender,
    Load,
    Retrieval,
    arguments,
    begin,
    fits,
    print_table,
    race,
    released,
    require,
    retrieval_arguments,
)
from torch.nn.functional import normalize

from msinet.metrics import RankingResult, evaluate_distance
from msinet.reranking import Reranking, rerank

BYTES_OF_A_PAIR = 24  # for each pair of all images: distances, encodings, their mean, and the sort
SAME = 1e-6


def released_reranking(load: Load, data: Retrieval, device: torch.device) -> np.ndarray:
    """Call the released functions as intended: they need all three blocks of distances."""
    distance = load("reid.utils.metrics").euclidean_distance
    query_QD, gallery_GD = (normalize(side.to(device)) for side in data.sides()[0])
    blocks = [distance(*pair) for pair in ((query_QD, gallery_GD), (query_QD, query_QD), (gallery_GD, gallery_GD))]
    return load("reid.utils.rerank").re_ranking(*blocks)


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__, repeats=3)
    retrieval_arguments(parser, 500, 2000)
    args, device = begin(parser, argv)
    data = Retrieval.random(args.queries, args.gallery, args.dim)
    embeddings, pids, camids = data.sides()
    embeddings = [side.to(device) for side in embeddings]

    def run() -> RankingResult:
        return evaluate_distance(Reranking(*embeddings), *pids, *camids)

    rerank(*(side[:8] for side in embeddings))  # compiles the functions before they are timed
    contenders = [Contender("embeddings to re-ranked scores: ours", args.queries, run)]
    if args.reference and not fits(BYTES_OF_A_PAIR * (args.queries + args.gallery) ** 2):
        print("the released re-ranking needs more memory than this machine has left: only ours runs")
    elif args.reference:
        load = released(args.reference, device)

        def peer() -> np.ndarray:
            return released_reranking(load, data, device)

        difference_QG = np.abs(rerank(*embeddings) - peer())
        # Rounding may swap two neighbours that are equally near; then a few entries differ.
        require("the share of entries that differ by more than 1e-6", float((difference_QG > SAME).mean()), 1e-3)
        print(f"agreement  the largest difference of all: {difference_QG.max():.1e}")
        contenders.append(Contender("embeddings to re-ranked distances: released", args.queries, peer))
    race(contenders, args, device)
    print_table(contenders)
    return contenders


if __name__ == "__main__":
    main()
