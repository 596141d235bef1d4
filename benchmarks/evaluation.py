"""The time from embeddings to rank-k and mAP. By default, as many queries and gallery images as Market-1501 has."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    quiet,
    race,
    released,
    require,
    retrieval_arguments,
)
from torch.nn.functional import normalize

from msinet.metrics import RankingResult, evaluate_distance, evaluate_ranking

MAX_RANK = 50
BYTES_OF_A_PAIR = 29  # the released evaluation holds distance, order, gathered identities and matches


class ReleasedEvaluation:
    """The released evaluator, which gets all embeddings at once."""

    def __init__(self, load: Load, data: Retrieval, device: torch.device) -> None:
        self.metrics: Any = load("reid.utils.metrics")
        self.data = data
        self.embedding_AD = data.embedding_AD.to(device)

    def run(self) -> tuple[np.ndarray, float]:
        """Return (CMC, mAP)."""
        with quiet():
            evaluator = self.metrics.R1_mAP(self.data.num_queries)
            evaluator.reset()
            evaluator.update((self.embedding_AD, self.data.pid_A, self.data.camid_A))
            return evaluator.compute()[:2]

    def score(self, ranks_QG: np.ndarray) -> tuple[np.ndarray, float]:
        """Return (CMC, mAP) of a given order."""
        _, pids, camids = self.data.sides()
        with quiet():
            return self.metrics.eval_func(ranks_QG, *pids, *camids)


class CompiledRanking:
    """torchreid's compiled scores, computed from one matrix of distances."""

    def __init__(self, checkout: Path, data: Retrieval, device: torch.device) -> None:
        folder = checkout / "torchreid" / "metrics" / "rank_cylib"
        compiled = sorted(folder.glob("rank_cy.*.so"))
        if not compiled:
            raise SystemExit(
                f"`--torchreid` must be a checkout of KaiyangZhou/deep-person-reid whose ranking is compiled, but "
                f"{folder} holds no rank_cy.*.so: run `python setup.py build_ext --inplace` there."
            )
        spec = importlib.util.spec_from_file_location("rank_cy", compiled[0])
        assert spec is not None
        assert spec.loader is not None
        self.module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.data, self.device = data, device

    def run(self) -> tuple[np.ndarray, float]:
        """Return (CMC, mAP)."""
        embeddings, pids, camids = self.data.sides()
        query_QD, gallery_GD = (normalize(side.to(self.device)) for side in embeddings)
        distance_QG = (-query_QD @ gallery_GD.T).cpu().numpy()
        return self.module.evaluate_cy(distance_QG, *pids, *camids, MAX_RANK)


def ranks_of(distance_QG: torch.Tensor) -> np.ndarray:
    """Return the place of each gallery image in each query's order; equal distances keep the gallery's order."""
    order_QG = torch.argsort(distance_QG, dim=1, stable=True).cpu().numpy()
    ranks_QG = np.empty(order_QG.shape, np.float32)
    np.put_along_axis(ranks_QG, order_QG, np.arange(order_QG.shape[1], dtype=np.float32)[None], axis=1)
    return ranks_QG


def check_compiled(result: RankingResult, peer: CompiledRanking) -> None:
    """Compare with torchreid's scores, which are float32 sums and leave the order of equal distances open."""
    cmc, mAP = peer.run()
    require("torchreid's mAP", abs(result.mAP - mAP), 1e-5)
    require("torchreid's CMC", float(np.abs(result.cmc - cmc).max()), 1e-5)


def check_scores(result: RankingResult, peer: ReleasedEvaluation, device: torch.device) -> None:
    """Compare with the released scores of the same order, then of its own distances, whose last digits differ."""
    embeddings, pids, camids = peer.data.sides()
    query_QD, gallery_GD = (normalize(side.to(device)) for side in embeddings)
    distance_QG = -query_QD @ gallery_GD.T
    ordered = evaluate_distance(distance_QG, *pids, *camids, max_rank=MAX_RANK)
    cmc, mAP = peer.score(ranks_of(distance_QG))
    require("mAP of one order", abs(ordered.mAP - mAP), 1e-9)
    require("CMC of one order", float(np.abs(ordered.cmc[: len(cmc)] - cmc).max()), 1e-6)
    del distance_QG
    cmc, mAP = peer.run()
    own = result.cmc[: len(cmc)]
    require("mAP of each one's distances", abs(result.mAP - mAP), 1e-4)
    require("CMC of each one's distances", float(np.abs(own - cmc).max()), 2e-3)


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__, repeats=3)
    retrieval_arguments(parser, 3368, 15913)
    parser.add_argument("--torchreid", type=Path, help="a checkout of KaiyangZhou/deep-person-reid, ranking compiled")
    args, device = begin(parser, argv)
    data = Retrieval.random(args.queries, args.gallery, args.dim)
    embeddings, pids, camids = data.sides()
    embeddings = [side.to(device) for side in embeddings]

    def run() -> RankingResult:
        return evaluate_ranking(*embeddings, *pids, *camids, max_rank=MAX_RANK)

    contenders = [Contender("embeddings to scores: ours", args.queries, run)]
    if args.reference and not fits(BYTES_OF_A_PAIR * args.queries * args.gallery):
        print("the released evaluation needs more memory than this machine has left: only ours runs")
    elif args.reference:
        peer = ReleasedEvaluation(released(args.reference, device), data, device)
        check_scores(run(), peer, device)
        contenders.append(Contender("embeddings to scores: released", args.queries, peer.run))
    if args.torchreid:
        compiled = CompiledRanking(args.torchreid, data, device)
        check_compiled(run(), compiled)
        contenders.append(Contender("embeddings to scores: torchreid, compiled", args.queries, compiled.run))
    race(contenders, args, device)
    print_table(contenders)
    return contenders


if __name__ == "__main__":
    main()
