"""The memory that a step of a search or a training needs, computed without taking it.

The step runs on tensors with shapes and no content: `FakeTensorMode` puts them on PyTorch's meta device, and lets
autocast treat them as tensors of a processor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from msinet.data.loaders import Batch, TrainBatches
from msinet.data.packed import ImageStore
from msinet.data.samplers import IdentityBatches
from msinet.engine.search import Search
from msinet.engine.train import Training
from msinet.models.supernet import Supernet
from msinet.recipes import BatchRecipe, SearchRecipe, TrainRecipe


@dataclass(frozen=True)
class Footprint:
    """The memory of a step in bytes.

    Attributes:
        saved: The tensors that the forward pass keeps for the gradients. The backward pass frees them one after
            another, so they are the peak.
        held: The weights, their gradients, and the state of their optimiser.
    """

    saved: int
    held: int


def footprint(network: nn.Module, recipe: BatchRecipe, image_size: tuple[int, int]) -> Footprint:
    """Compute the memory of one step in one process.

    Args:
        network: A `Supernet` for a search recipe, else any network of `build_model`. It cannot be used afterwards.
        recipe: The recipe of the search or the training.
        image_size: (height, width) in pixels.
    """
    loop: Any
    networks: list[nn.Module]
    batches, device = _batches(recipe), torch.device("cpu")
    if isinstance(recipe, SearchRecipe):
        assert isinstance(network, Supernet)
        loop = Search(network, batches, batches, recipe, device)
        networks = [network]
    else:
        assert isinstance(recipe, TrainRecipe)
        loop = Training(network, batches, recipe, device)
        networks = [network, *([loop.alignment] if loop.alignment else [])]
    mode = FakeTensorMode()
    for part in networks:
        part.load_state_dict({name: mode.from_tensor(value) for name, value in part.state_dict().items()}, assign=True)
    with mode:
        images_BCHW = torch.empty(recipe.batch_size, 3, *image_size).to(memory_format=torch.channels_last)
        batch = Batch(images_BCHW, mode.from_tensor(torch.from_numpy(batches.labels)), torch.empty(0))
        if isinstance(loop, Search):
            # A step on α saves the same tensors before a step on the weights saves its own.
            loop.weights = list(loop.supernet.weight_parameters())
            loop.train_memory = None if loop.train_memory is None else mode.from_tensor(loop.train_memory)
            saved = _saved(lambda: loop.weight_step(batch), networks)
        else:
            saved = _saved(lambda: loop.step(batch), networks)
    return Footprint(saved, _held(networks, recipe))


def _batches(recipe: BatchRecipe) -> TrainBatches:
    """Return batches of the recipe's size, of pictures that nobody looks at."""
    labels = np.repeat(np.arange(recipe.num_ids), recipe.num_instances)
    store = ImageStore(np.zeros((len(labels), 1, 1, 3), np.uint8))
    sampler = IdentityBatches(labels.tolist(), recipe.num_ids, recipe.num_instances, 0, "train")
    return TrainBatches(store, labels, sampler, recipe.augmentation, 0, "cpu")


def _saved(step: Callable[[], Any], networks: Sequence[nn.Module]) -> int:
    """Return the bytes of all different tensors that a step saves, without the weights."""
    weights = {StorageWeakRef(tensor.untyped_storage()) for part in networks for tensor in part.state_dict().values()}
    saved: dict[StorageWeakRef, UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved.setdefault(StorageWeakRef(storage), storage)  # kept, so that no later one gets its place
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(storage.nbytes() for place, storage in saved.items() if place not in weights)


def _held(networks: Sequence[nn.Module], recipe: BatchRecipe) -> int:
    """Return the bytes of the weights, of a gradient for each weight, and of the optimiser's moments."""
    weights = sum(parameter.nbytes for part in networks for parameter in part.parameters())
    return weights * (2 + {"sgd": 1, "adam": 2}[recipe.optimizer])
