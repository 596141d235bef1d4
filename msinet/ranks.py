"""Several processes that together compute what one process computes: each has a part of every batch.

Shapes: R ranks, B a rank's images, C channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm


@dataclass(frozen=True)
class Ranks:
    """The place of this process in the default group of `torch.distributed`. A single process exchanges nothing.

    Every rank has the same number of whole identities of the global batch. The inputs of a loss are gathered first, so
    that every rank computes the loss of the global batch. In the backward pass through `gather`, a rank's images
    receive the gradients of all ranks' losses, so the rank's gradient of a parameter before `gather` is `world` times
    the share of the rank's images. A parameter after `gather` has its whole gradient on every rank. For both, the mean
    over the ranks is the gradient of the global batch's loss, so `average_gradients` treats all parameters alike.

    Attributes:
        rank: Number of this process, from 0.
        world: The number of processes.
    """

    rank: int = 0
    world: int = 1

    def share(self, count: int) -> slice:
        """Return this rank's slice of `count` things, which are divided equally among the ranks."""
        each = count // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, tensor: Tensor) -> Tensor:
        """Join the tensors of all ranks, which have one shape, along the first axis. Gradients pass through."""
        return tensor if self.world == 1 else _Gather.apply(tensor, self)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each parameter's gradient by the mean over all ranks.

        All gradients are exchanged at once, as one flat tensor. `DistributedDataParallel` would exchange them in hooks,
        but `torch.autograd.grad`, with which a search computes gradients, does not run these hooks.

        Args:
            parameters: Those without a gradient are not changed; they must be the same ones on every rank.
        """
        if self.world == 1:
            return
        with_gradient = [(p, p.grad.flatten()) for p in parameters if p.grad is not None]
        flat = torch.cat([gradient for _, gradient in with_gradient])
        distributed.all_reduce(flat)
        flat /= self.world
        parts = flat.split([gradient.numel() for _, gradient in with_gradient])
        for (parameter, _), part in zip(with_gradient, parts, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))

    @torch.no_grad()
    def broadcast(self, network: nn.Module) -> None:
        """Copy the parameters and buffers of rank 0 to every rank."""
        if self.world == 1:
            return
        for tensor in (*network.parameters(), *network.buffers()):
            sent = tensor.contiguous()  # channels-last memory cannot be sent
            distributed.broadcast(sent, src=0)
            tensor.copy_(sent)


ALONE = Ranks()
"""The only rank of a single process."""


def synchronise_batch_norm(network: nn.Module, ranks: Ranks, device: torch.device) -> None:
    """Make the batch norms inside `network` take their statistics from the images of all ranks, as one process does.

    Otherwise each rank would normalise by its own images, and a saved state would hold the running statistics of one
    rank only. The keys of the state dict do not change.

    Args:
        network: The network, which is changed in place. Its training must not have begun.
        ranks: This process among those that train together. With a single process nothing is changed.
        device: Device on which `network` will be trained.
    """
    if ranks.world == 1:
        return
    if device.type == "cuda":  # PyTorch's SyncBatchNorm needs kernels that exist for CUDA only
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, _SyncBatchNorm(child, ranks))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        sent = tensor.contiguous()
        received = [torch.empty_like(sent) for _ in range(ranks.world)]
        distributed.all_gather(received, sent)
        return torch.cat(received)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Sum the gradients of all ranks, because each rank's tensor went into the computation of every rank."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[ctx.ranks.share(len(total))], None


class _SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm over the images of all ranks, for any device and backend. It uses the tensors of `norm`."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        for name, parameter in norm.named_parameters():
            self.register_parameter(name, parameter)
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.train(norm.training)
        self.ranks = ranks

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input`, B×C or B×C×H×W, as `norm` does."""
        if not self.training:
            return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        own_2C = torch.stack(torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1], correction=0))
        variance_RC, mean_RC = self.ranks.gather(own_2C[None]).unbind(1)
        mean_C = mean_RC.mean(0)
        # Every rank has equally many values, so the total variance is the mean variance within the ranks plus the
        # variance between them.
        variance_C = variance_RC.mean(0) + mean_RC.var(0, correction=0)
        self._track(mean_C.detach(), variance_C.detach(), self.ranks.world * x.numel() // x.shape[1])
        scale_C = self.weight * (variance_C + self.eps).rsqrt()
        mean, scale, bias = (t.view(1, -1, *[1] * (x.dim() - 2)) for t in (mean_C, scale_C, self.bias))
        return ((x - mean) * scale + bias).to(input.dtype)

    def _track(self, mean_C: Tensor, variance_C: Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * count / (count - 1), self.momentum)
