"""The scores of a trained network on the pictures of a target."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msinet.data.galleries import sides
from msinet.data.loaders import eval_batches
from msinet.data.packed import ImageStore
from msinet.data.records import Record
from msinet.engine.memory import kept_memory
from msinet.metrics import RankingResult, evaluate_distance, evaluate_ranking
from msinet.models.deploy import deployed
from msinet.reranking import Reranking

SCORES = ("mAP", "rank1", "rank5", "rank10", "mINP")


@torch.no_grad()  # not inference mode, whose tensors cannot be trained on afterwards
def embed(
    model: nn.Module,
    store: ImageStore,
    device: torch.device,
    *,
    batch_size: int | None = None,
    after_neck: bool = False,
    run: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Embed every picture of `store`, in order.

    Args:
        model: Any network of `build_model`; it is not changed, because a copy in the form of `deployed` runs.
        store: N pictures, decoded and resized.
        device: Device on which the network runs.
        batch_size: Number of pictures at a time; None for `embedding_batch`.
        after_neck: Take the embedding after the heads' batch norms.
        run: Function from normalised pictures to embeddings, for another runtime than PyTorch; by default a copy of the
            network in the form of `deployed`.

    Returns:
        embedding_ND on the CPU, float32, not normalised.

    Raises:
        ValueError: An embedding is infinite or not a number.
    """
    if run is None:
        network: Any = deployed(model.to(device))
        run = partial(network.embed, after_neck=after_neck)
    with kept_memory():
        batches = eval_batches(store, batch_size or embedding_batch(device), device)
        blocks = [run(images_BCHW).float().cpu() for images_BCHW in batches]
    embedding_ND = torch.cat(blocks)
    if not embedding_ND.isfinite().all():
        raise ValueError(
            "embeddings must be finite, but this network gives infinity or nan: its training has diverged (lr)."
        )
    return embedding_ND


def embedding_batch(device: torch.device) -> int:
    """Return how many pictures are embedded at a time.

    A processor takes few, so that their maps stay in its caches: MSINet takes a fifth less time than with 128.
    """
    return 16 if device.type == "cpu" else 128


def rank_records(
    records: Sequence[Record], embedding_ND: Tensor, protocol: str, *, rerank: bool
) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Score a target by its protocol.

    Args:
        records: N test images, queries and gallery.
        embedding_ND: Their embeddings, in the same order.
        protocol: With `fixed`, queries and gallery are given. With `random_gallery` (VehicleID), one gallery image is
            drawn for each identity, ten times, and the scores are averaged over the draws; the standard deviation of
            each score is added as `<score>_std`.
        rerank: Whether to rank by k-reciprocal distances.

    Returns:
        The scores mAP, rank1, rank5, rank10 and mINP as fractions, with num_queries and num_valid_queries; and a table
        with a row for each query (and draw): path, pid, camid, average_precision, first_match_rank,
        inverse_negative_penalty.
    """
    draws = sides(records, protocol)
    rankings = [_rank(records, embedding_ND, query, gallery, rerank) for query, gallery in draws]
    scores = {name: float(np.mean([_scores(ranking)[name] for ranking in rankings])) for name in _scores(rankings[0])}
    if len(rankings) > 1:
        deviations = {f"{name}_std": float(np.std([_scores(r)[name] for r in rankings], ddof=1)) for name in SCORES}
        scores |= deviations
    return scores, _per_query(records, draws, rankings)


def _rank(
    records: Sequence[Record], embedding_ND: Tensor, query: NDArray[np.int64], gallery: NDArray[np.int64], rerank: bool
) -> RankingResult:
    sides = [[records[index] for index in indices] for indices in (query, gallery)]
    query_QD, gallery_GD = embedding_ND[query], embedding_ND[gallery]
    identities = [[record.pid for record in side] for side in sides]
    cameras = [[record.camid for record in side] for side in sides]
    if rerank:
        return evaluate_distance(Reranking(query_QD, gallery_GD), *identities, *cameras)
    return evaluate_ranking(query_QD, gallery_GD, *identities, *cameras)


def _scores(ranking: RankingResult) -> dict[str, float]:
    return {
        "mAP": ranking.mAP,
        **{f"rank{k}": ranking.rank(k) for k in (1, 5, 10)},
        "mINP": ranking.mINP,
        "num_queries": ranking.num_queries,
        "num_valid_queries": ranking.num_valid_queries,
    }


def _per_query(records: Sequence[Record], draws: Sequence[Any], rankings: Sequence[RankingResult]) -> dict[str, Any]:
    queries = [records[index] for query, _ in draws for index in query]
    return {
        "path": [record.path for record in queries],
        "pid": [str(record.pid) for record in queries],
        "camid": [record.camid for record in queries],
        "average_precision": np.concatenate([ranking.average_precision for ranking in rankings]).tolist(),
        "first_match_rank": np.concatenate([ranking.first_match_rank for ranking in rankings]).tolist(),
        "inverse_negative_penalty": np.concatenate([r.inverse_negative_penalty for r in rankings]).tolist(),
    }
