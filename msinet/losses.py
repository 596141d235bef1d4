"""The losses of search and retraining.

They are computed in float32, also under autocast; only the products of a bf16 map stay bf16.

Shapes: B batch, D numbers of a feature, K identities of a memory, C channels, H×W map, M = H·W positions.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, normalize

from msinet.models.alignment import SpatialAlignment, mutual_activation

ALIGNMENT_MODES = ("pos", "neg", "pos_neg")


def memory_contrastive(features: Tensor, labels: Tensor, memory: Tensor, temperature: float = 0.05) -> Tensor:
    """Compute the cross entropy of features against a memory with one entry per identity (MSINet, CVPR 2023).

    The gradient reaches the features only. The memory is not changed here: update it after the backward pass.

    Args:
        features: features_BD, of any norm; they are L2-normalised here.
        labels: labels_B, numbers of rows of `memory`.
        memory: memory_KD, L2-normalised or zero.
        temperature: τ, by which the similarities are divided.

    Returns:
        The mean over the batch, a scalar.
    """
    with _float32(features):
        similarity_BK = normalize(features.float()) @ memory.detach().T
        return cross_entropy(similarity_BK / temperature, labels)


@torch.no_grad()
def update_memory(
    memory: Tensor,
    features: Tensor,
    labels: Tensor,
    momentum: float = 0.2,
    *,
    num_instances: int | None = None,
) -> None:
    """Move each identity's entry towards its features, in place.

    Each feature, in the order of the batch, changes the entry of its identity:
    entry ← normalize(momentum·entry + (1 − momentum)·normalize(feature)).

    Args:
        memory: memory_KD, changed in place.
        features: features_BD, of any norm.
        labels: labels_B, numbers of rows of `memory`, in any order; each may occur any number of times.
        momentum: Share of the entry that is kept.
        num_instances: The largest number of features of one identity in the batch, where it is known (K of a P×K
            batch). With None it is counted, and the host waits for the device.
    """
    unit_BD = normalize(features.float())
    same_BB = labels[:, None] == labels
    earlier_B = same_BB.tril(-1).sum(1)  # how many of the identity's features come before this one
    rounds = int(earlier_B.max()) + 1 if num_instances is None else num_instances
    # Every feature carries a copy of its identity's entry, so that a round needs no scatter.
    entry_BD = memory[labels]
    for turn in range(rounds):
        due_BB = same_BB & (earlier_B == turn)  # at most one column per row: the identity's feature of this round
        source_B = due_BB.int().argmax(1)
        moved_BD = normalize(momentum * entry_BD + (1 - momentum) * unit_BD[source_B])
        entry_BD = torch.where(due_BB.any(1, keepdim=True), moved_BD, entry_BD)
    # All rows of one identity write the same bits, those of its first feature, so their order does not matter.
    memory[labels] = entry_BD[same_BB.int().argmax(1)].to(memory.dtype)


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Compute the triplet loss of each feature's farthest positive and nearest negative (Hermans et al., 2017).

    The features are L2-normalised and compared by Euclidean distance. A feature that is alone in its identity is
    its own positive, at distance 0. A feature without a negative adds 0.

    Args:
        features: features_BD.
        labels: labels_B.
        margin: By how much a negative must be farther away than a positive.

    Returns:
        The mean over the batch, a scalar.
    """
    with _float32(features):
        unit_BD = normalize(features.float())
        similarity_BB = unit_BD @ unit_BD.T
        same_BB = labels[:, None] == labels
        # Of unit vectors the farthest is the least similar, because distance² = 2 − 2·similarity.
        positive_B = similarity_BB.masked_fill(~same_BB, torch.inf).min(1).values
        negative_B = similarity_BB.masked_fill(same_BB, -torch.inf).max(1).values
        return (_unit_distance(positive_B) - _unit_distance(negative_B) + margin).relu().mean()


def spatial_alignment(
    feature_map: Tensor, labels: Tensor, module: SpatialAlignment, mode: str, *, sam_softmax: bool = False
) -> Tensor:
    """Compute the loss that aligns the positions at which images respond to each other (MSINet, CVPR 2023).

    S_gp is the activation of image p that image g causes, and A_g is the position attention of g. `pos` is the
    mean of 1 − cos(A_g, S_gp) over the positives p of g, g itself included. `neg` is the mean of
    1 − cos(S_gp, S_gq) over all ordered pairs of negatives p, q of g, p = q included. `pos_neg` is their sum.

    Args:
        feature_map: feature_map_BCHW, the last map of an exact P×K batch: with unequal numbers of instances
            the identities would have unequal weights in the means.
        labels: labels_B.
        module: The module that computes the position attention; it is trained with the network.
        mode: One of `ALIGNMENT_MODES`.
        sam_softmax: Pass the attention's energy through a softmax (Table 11).

    Returns:
        A scalar, not yet multiplied by its weight (2.0 in the paper).

    Raises:
        ValueError: `mode` is unknown.
    """
    if mode not in ALIGNMENT_MODES:
        raise ValueError(f"the alignment's `mode` must be one of {', '.join(ALIGNMENT_MODES)}, but got {mode!r}.")
    with _float32(feature_map):
        positive_BB = (labels[:, None] == labels).float()
        # The products of a bf16 map are summed in float32 and then rounded to bf16, which is as exact as the map.
        activation_BBM = normalize(mutual_activation(feature_map).float(), dim=2)
        feature_map = feature_map.float()
        loss = feature_map.new_zeros(())
        if "pos" in mode:
            attention_BM = normalize(module(feature_map, softmax=sam_softmax))
            cosine_BB = torch.einsum("gm,gpm->gp", attention_BM, activation_BBM)
            loss = loss + 1 - (cosine_BB * positive_BB).sum() / positive_BB.sum()
        if "neg" in mode:
            negative_BB = 1 - positive_BB
            # The mean cosine over all pairs of unit vectors is the squared length of their mean.
            share_BB = negative_BB / negative_BB.sum(1, keepdim=True)
            mean_BM = torch.einsum("gp,gpm->gm", share_BB, activation_BBM)
            loss = loss + 1 - mean_BM.square().sum(1).mean()
        return loss


def consistent_attention(maps: Sequence[Tensor]) -> Tensor:
    """Compute the loss that makes the layers of one image respond at the same places (after Zhou et al., ICCV 2019).

    The formulation is ours. The activation a_l of layer l is the sum over channels of squares, averaged over the area
    of each position of the last map. The loss is the mean of 1 − cos(a_l, a_k) over all pairs of layers l < k and all
    images. It is 0 where the activations of the layers are equal up to a factor for each layer and image. It does not
    depend on how strongly a layer responds, nor with which channels. Zhou et al. compare learned foreground masks;
    these activations need no parameters.

    Args:
        maps: One map B×C×H×W for each of at least two layers. C, H and W may differ; the last map is the coarsest.

    Returns:
        A scalar from 0 to 1, not yet multiplied by its weight.
    """
    with _float32(maps[-1]):
        height, width = maps[-1].shape[2:]
        coarse = [adaptive_avg_pool2d(_activation(map_BCHW), (height, width)) for map_BCHW in maps]
        attentions = [normalize(activation_BHW.flatten(1)) for activation_BHW in coarse]
        cosines = [(first_BM * second_BM).sum(1).mean() for first_BM, second_BM in combinations(attentions, 2)]
        return 1 - torch.stack(cosines).mean()


def activation_distribution(feature_map: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss that makes images of one identity respond at the same heights (after Zheng et al., CVPR 2019).

    The formulation is ours. The activation r_g of image g is the sum over channels of squares, summed over each row of
    the map. The loss is the mean of 1 − cos(r_g, r_p) over all pairs of different images g, p of one identity. It is 0
    where their distributions over the H rows, r / Σ r, are equal. It does not depend on how strongly an image responds,
    nor where in a row. Zheng et al. use gradient-weighted activation maps; ours need the forward pass only.

    Args:
        feature_map: feature_map_BCHW, the last map of an exact P×K batch, K at least 2: the mean needs pairs of images
            of one identity.
        labels: labels_B.

    Returns:
        A scalar from 0 to 1, not yet multiplied by its weight.
    """
    with _float32(feature_map):
        unit_BH = normalize(_activation(feature_map).sum(2))
        pair_BB = (labels[:, None] == labels).float().fill_diagonal_(0)
        return 1 - (unit_BH @ unit_BH.T * pair_BB).sum() / pair_BB.sum()


def _activation(feature_map_BCHW: Tensor) -> Tensor:
    """Return how strongly each position responds, B×H×W (Zagoruyko & Komodakis, attention transfer, ICLR 2017)."""
    return feature_map_BCHW.float().square().sum(1)


def _unit_distance(similarity_B: Tensor) -> Tensor:
    """Return the Euclidean distance of unit vectors, at least 1e-6: at 0 the gradient of the root is infinite."""
    return (2 - 2 * similarity_B).clamp(min=1e-12).sqrt()


def _float32(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)
