"""Comparison of two models on one target, as in the paper's Figures 1 and 2."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from msinet.data.galleries import sides
from msinet.data.loaders import eval_batches
from msinet.data.packed import ImageStore, PackedDataset
from msinet.metrics import evaluate_ranking
from msinet.visual.activation_maps import activation_map, draw_activation_maps
from msinet.visual.ranked_lists import draw_ranked_lists, most_different, pictures_of, top_ranked

QUERIES = 6


def compare(
    models: Mapping[str, tuple[nn.Module, Tensor]],
    packed: PackedDataset,
    indices: Sequence[int],
    store: ImageStore,
    protocol: str,
    device: torch.device,
) -> tuple[Image.Image, Image.Image]:
    """Draw the queries on which two models differ most.

    Args:
        models: Two networks by their names, each with its embedding_ND of the test images.
        packed: The target's images.
        indices: Indices of the target's test images, queries and gallery.
        store: Pixels of the test images at the models' size, in the same order.
        protocol: As for `rank_records`. If the gallery is drawn at random, the first draw is shown.
        device: Device on which the activation maps are computed.

    Returns:
        The sheet of ranked lists, and the sheet of activation maps of the same queries.
    """
    records = [packed.records[index] for index in indices]
    query, gallery = sides(records, protocol)[0]
    query_pids, gallery_pids = ([records[position].pid for position in side] for side in (query, gallery))
    query_camids, gallery_camids = ([records[position].camid for position in side] for side in (query, gallery))
    labels = (query_pids, gallery_pids, query_camids, gallery_camids)
    pairs = {name: (embedding_ND[query], embedding_ND[gallery]) for name, (_, embedding_ND) in models.items()}
    first, second = (evaluate_ranking(*pair, *labels) for pair in pairs.values())
    chosen = most_different(first, second, QUERIES)
    lists = {name: top_ranked(*pair, *labels, chosen) for name, pair in pairs.items()}
    picture_of_query, picture_of_gallery = (
        pictures_of(packed, [indices[position] for position in side]) for side in (query, gallery)
    )
    height, width = store.size_HW
    ranked = draw_ranked_lists(lists, picture_of_query, picture_of_gallery, size_HW=(96, 96 * width // height))
    shown = store.subset([int(query[position]) for position in chosen])
    images_BCHW = next(eval_batches(shown, len(chosen), device))
    maps = {name: activation_map(model.to(device), images_BCHW) for name, (model, _) in models.items()}
    return ranked, draw_activation_maps([picture_of_query(position) for position in chosen], maps)
