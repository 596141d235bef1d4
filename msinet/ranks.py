"""Several processes that compute what one would: each has a part of every batch.

Legend: R ranks, B a rank's images, C channels.
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
    """This process among those of `torch.distributed`'s default group; alone, nothing is exchanged.

    Every rank has whole identities of the global batch, all equally many. What a loss reads is gathered first, so that
    every rank computes the loss of the global batch. Going back through `gather`, a rank's images receive the gradients
    of all ranks' losses: what the rank adds to a parameter's gradient is `world` times the images' share. A parameter
    that works on what was gathered has its whole gradient on every rank. So the mean over the ranks is the gradient of
    the global batch's loss for both, and `average_gradients` is the only rule.

    Attributes:
        rank: Of this process, from 0.
        world: The number of processes.
    """

    rank: int = 0
    world: int = 1

    def share(self, count: int) -> slice:
        """Which of `count` things, as many for each rank, are this rank's."""
        each = count // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, tensor: Tensor) -> Tensor:
        """The ranks' tensors, of one shape, one after the other along the first axis; with gradients."""
        return tensor if self.world == 1 else _Gather.apply(tensor, self)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each parameter's gradient by the mean over all ranks.

        One exchange of all numbers in a row. `DistributedDataParallel` would exchange them in hooks, which do not fire
        where gradients are asked for by name, as in a search.

        Args:
            parameters: Those without a gradient, the same on every rank, are left alone.
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
        """Give every rank the parameters and buffers of rank 0."""
        if self.world == 1:
            return
        for tensor in (*network.parameters(), *network.buffers()):
            sent = tensor.contiguous()  # channels-last memory cannot be sent
            distributed.broadcast(sent, src=0)
            tensor.copy_(sent)


ALONE = Ranks()
"""One process."""


def synchronise_batch_norm(network: nn.Module, ranks: Ranks, device: torch.device) -> None:
    """Let the batch norms inside `network` take their statistics from all ranks' images, as one process does.

    Without it each rank normalises by its own images, and what is saved are the running statistics of the rank that
    saves. The keys of the state dict stay as they are.

    Args:
        network: Changed in place, before its training begins.
        ranks: Alone, nothing is changed.
        device: Where `network` will be trained.
    """
    if ranks.world == 1:
        return
    if device.type == "cuda":  # torch's own needs kernels that exist there only
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
        """A rank's tensor went into what every rank computed."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[ctx.ranks.share(len(total))], None


class _SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """`norm`, with its own parameters and buffers, over the images of all ranks (any device, any backend)."""

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
        """Like `norm`, B×C or B×C×H×W."""
        if not self.training:
            return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        own_2C = torch.stack(torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1], correction=0))
        variance_RC, mean_RC = self.ranks.gather(own_2C[None]).unbind(1)
        mean_C = mean_RC.mean(0)
        # Of as many numbers on each rank: the mean variance within, and the variance between.
        variance_C = variance_RC.mean(0) + mean_RC.var(0, correction=0)
        self._track(mean_C.detach(), variance_C.detach(), self.ranks.world * x.numel() // x.shape[1])
        scale_C = self.weight * (variance_C + self.eps).rsqrt()
        mean, scale, bias = (t.view(1, -1, *[1] * (x.dim() - 2)) for t in (mean_C, scale_C, self.bias))
        return ((x - mean) * scale + bias).to(input.dtype)

    def _track(self, mean_C: Tensor, variance_C: Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * count / (count - 1), self.momentum)
