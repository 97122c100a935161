"""Sums and means over the rows of all processes: losses, and norms that see all nodes."""

from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from graphattn.graphs.spread import SpreadGraph
from graphattn.kernels.kernel import accumulation_dtype


class AllReduce(torch.autograd.Function):
    """The sum over all processes. What each of them makes of it adds to the gradient."""

    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad):
        return AllReduce.apply(grad, ctx.group), None


def mean_of_all(losses: Tensor, group: Any = None) -> Tensor:
    """The mean of the losses of all processes, [rows of this process] each: a scalar, equal on all, to call `backward` on.

    DistributedDataParallel takes the mean of the gradients of all processes. A mean over own rows would count a row of a process
    with few of them more than others; with this loss the gradients are those that one process has of `losses.mean()` over all
    rows. A process without losses gives an empty tensor made of its output (`losses[mask]`), so that it takes part.

    Args:
        losses: Any shape; the numbers of all processes count alike.
        group: A ShardedGraph, whose processes they are, or a process group; None for all.

    Raises:
        TypeError: if losses are no floating tensor.
    """
    if not isinstance(losses, Tensor) or not losses.is_floating_point():
        raise TypeError(f"'losses' must be a floating tensor (got {getattr(losses, 'dtype', type(losses).__name__)})")
    group = group_of(group)
    total = losses.to(accumulation_dtype(losses.dtype)).sum()  # a sum of many overflows in float16
    both = torch.stack([total.detach().double(), total.new_tensor(losses.numel(), dtype=torch.float64)])
    dist.all_reduce(both, group=group)
    mean, count = both[0] / both[1], both[1]
    own = total * (dist.get_world_size(group) / count).to(total.dtype)
    return (own + (mean.to(total.dtype) - own).detach()).to(losses.dtype)


def group_of(group: Any) -> Any:
    return getattr(group, "group", None) if isinstance(group, SpreadGraph) else group


class SharedBatchNorm(torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` of [num_nodes, channels] whose mean and variance are those of the nodes of all processes.

    State and parameters are those of BatchNorm1d. `share_batch_norms` puts it into a model.
    """

    group: Any = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training and self.track_running_stats:
            return super().forward(input)
        if input.dim() != 2 or input.size(1) != self.num_features:
            raise ValueError(f"'input' must be [num_nodes, {self.num_features}] (got {list(input.shape)})")
        x = input.to(accumulation_dtype(input.dtype))  # a count of more than 256 is none in bfloat16
        sums = AllReduce.apply(torch.cat([x.sum(0), x.new_tensor([len(x)])]), self.group)
        count = float(sums[-1].detach())
        if count == 1 and self.training:
            raise ValueError(
                f"batch norm needs more than one node over all processes when training (got 1, with {len(input)} of them here)"
            )
        centred = x - sums[:-1] / max(count, 1.0)
        variance = AllReduce.apply(centred.square().sum(0), self.group) / max(count, 1.0)
        if self.training and self.track_running_stats and count:
            self.update((sums[:-1] / count).detach(), variance.detach() * count / (count - 1))
        out = centred * (variance + self.eps).rsqrt()
        return (out if self.weight is None else out * self.weight + self.bias).to(input.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedBatchNorm":
        """A copy whose statistics are those of the same processes, which are not copied."""
        memo[id(self.group)] = self.group
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(deepcopy(self.__dict__, memo))
        return copied

    @torch.no_grad()
    def update(self, mean: Tensor, variance: Tensor) -> None:
        """Running statistics, as BatchNorm1d keeps them: of the unbiased variance."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def share_batch_norms(model: torch.nn.Module, group: Any = None) -> torch.nn.Module:
    """The model, whose BatchNorm1d layers now take statistics over the nodes of all processes (`SharedBatchNorm`).

    Parameters, buffers and their names stay. (`torch.nn.SyncBatchNorm` does it on GPUs, and not for processes without nodes.)

    Args:
        model: Changed in place.
        group: A ShardedGraph or a process group; None for all processes.
    """
    for module in model.modules():
        if type(module) is torch.nn.BatchNorm1d:
            module.__class__ = SharedBatchNorm
            module.group = group_of(group)
    return model
