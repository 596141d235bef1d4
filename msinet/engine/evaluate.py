"""From a trained network and a target's pictures to scores."""

import torch
from torch import Tensor, nn

from msinet.data.loaders import eval_batches
from msinet.data.packed import ImageStore


@torch.no_grad()  # not inference mode: its tensors could not be trained on afterwards
def embed(
    model: nn.Module,
    store: ImageStore,
    device: torch.device,
    *,
    batch_size: int = 128,
    after_neck: bool = False,
) -> Tensor:
    """Embed every picture of `store`, in order.

    Args:
        model: Any network of `build_model`; it is put in evaluation mode.
        store: N pictures, decoded and resized.
        device: Where the network runs.
        batch_size: Pictures at a time.
        after_neck: Take the embedding after the heads' batch norms.

    Returns:
        embedding_ND on the CPU, float32, not normalised.
    """
    model = model.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    blocks = [
        model.embed(images_BCHW, after_neck=after_neck).float().cpu()  # type: ignore[operator]
        for images_BCHW in eval_batches(store, batch_size, device)
    ]
    return torch.cat(blocks)
