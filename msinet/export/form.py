"""The network as it is exported: normalised pictures in, L2-normalised embeddings out.

Letters: B batch, C channels, H×W map, N = H·W positions, D embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize

from msinet.models.deploy import deployed
from msinet.models.interactions import ChannelGate, CrossAttention
from msinet.models.layers import Gate, LightConv3x3
from msinet.models.msinet import MSINet
from msinet.models.skeleton import Cell


class NormalisedForm(nn.Module):
    """A trained network in the form of `deployed`, with embeddings of length 1.

    Args:
        model: Any network of `build_model`; it is not changed.
        after_neck: Whether embeddings are taken after the necks.
        normalised: Whether embeddings are divided by their length. Those of stored evaluations are not.
    """

    def __init__(self, model: nn.Module, after_neck: bool = False, *, normalised: bool = True) -> None:
        super().__init__()
        self.network = deployed(model)
        self.after_neck, self.normalised = after_neck, normalised
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings, B×D.

        Args:
            images: Pictures as `msinet.data.transforms.normalise` returns them, B×3×H×W.
        """
        embedding_BD = self.embed(images)
        return normalize(embedding_BD) if self.normalised else embedding_BD

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Return embeddings of any length, B×D."""
        return self.network.embed(images_BCHW, after_neck=self.after_neck)  # type: ignore[operator]


class ExportForm(NormalisedForm):
    """A `NormalisedForm` with what other runtimes gain from. Its embeddings are the same up to rounding.

    - Means over a map are poolings, which runtimes compute in the order of memory that their convolutions use.
    - The part head's convolution follows its pooling, because both are linear.
    - A cross attention and the 1×1 convolutions after it are one product with a matrix for each picture.
    """

    def __init__(self, model: nn.Module, after_neck: bool = False, *, normalised: bool = True) -> None:
        super().__init__(model, after_neck, normalised=normalised)
        # Other runtimes choose their own order in memory.
        self.network.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for module in list(self.network.modules()):
            if isinstance(module, ChannelGate):
                module.gate = PooledGate(module.gate)  # type: ignore[assignment]
            if isinstance(module, Cell) and isinstance(module.first_interaction, CrossAttention):
                _merge_attention(module)
        self.eval().requires_grad_(False)

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Return embeddings of any length, B×D."""
        if isinstance(self.network, MSINet):
            return self._embed(self.network, images_BCHW)
        return super().embed(images_BCHW)

    def _embed(self, network: MSINet, images_BCHW: Tensor) -> Tensor:
        """Return what `network.embed` returns."""
        part_BCHW, last_BCHW = network.maps(images_BCHW)
        height, width = part_BCHW.shape[2:]
        middle = height // 2
        if height % 2:
            halves = [_pooled(part_BCHW[:, :, :middle]), _pooled(part_BCHW[:, :, middle:])]
            pooled_BC21 = torch.cat(halves, 2)
        else:
            pooled_BC21 = avg_pool2d(part_BCHW, (middle, width))
        part_BD = network.part_conv(pooled_BC21).transpose(1, 2).flatten(1)
        global_BD = _pooled(last_BCHW).flatten(1)
        if self.after_neck:
            global_BD, part_BD = network.global_head.after_neck(global_BD), network.part_head.after_neck(part_BD)
        return torch.cat((global_BD, part_BD), 1)


class PooledGate(nn.Module):
    """A `Gate` whose mean is a pooling."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the gate, B×C×1×1."""
        return self.gate.fc2(self.gate.fc1(_pooled(x_BCHW)).relu()).sigmoid()


class AttentionAndConv(nn.Module):
    """A cross attention whose branches each pass through a 1×1 convolution without bias afterwards.

    With the convolution's matrix W and the attention A of a picture, W·(γ·A·x + x) = (γ·W·A + W)·x.
    """

    def __init__(self, attention: CrossAttention, convs: list[nn.Conv2d]) -> None:
        super().__init__()
        self.attention = attention
        self.weights = nn.ParameterList([conv.weight.flatten(1) for conv in convs])

    def forward(self, *branches: Tensor) -> tuple[Tensor, ...]:
        attentions = self.attention.attention(*branches)
        return tuple(
            ((self.attention.gamma * (weight_CC @ attention_BCC) + weight_CC) @ branch.flatten(2)).unflatten(
                2, branch.shape[2:]
            )
            for weight_CC, attention_BCC, branch in zip(self.weights, attentions, branches, strict=True)
        )


def _merge_attention(cell: Cell) -> None:
    """Merge the first attention of a cell with the first convolution of each of its second chains."""
    blocks = [getattr(cell, f"second_{name}")[0] for name in cell.names]
    if all(isinstance(block, LightConv3x3) and block.conv1.bias is None for block in blocks):
        cell.first_interaction = AttentionAndConv(cell.first_interaction, [block.conv1 for block in blocks])  # type: ignore[arg-type]
        for block in blocks:
            block.conv1 = nn.Identity()


def _pooled(x_BCHW: Tensor) -> Tensor:
    """Return the mean over all positions, B×C×1×1."""
    return avg_pool2d(x_BCHW, x_BCHW.shape[2:])
