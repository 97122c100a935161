"""Many cotangents at once, as of torch.autograd.functional.jacobian(vectorize=True): a backward pass takes one after the other."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeGuard

import torch
from torch import Tensor

Backward = Callable[..., tuple[Any, ...]]


def is_batched(x: Any) -> TypeGuard[Tensor]:
    """Whether a cotangent stands for many, as those do that torch.autograd.grad(is_grads_batched=True) hands to a function."""
    return isinstance(x, Tensor) and torch._C._functorch.is_legacy_batchedtensor(x)


def each_of_batch(backward: Backward) -> Backward:
    """The backward pass of a torch.autograd.Function for one cotangent of each result, and for batches of them."""

    @wraps(backward)
    def for_all(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        if not any([is_batched(grad) for grad in grads]):
            return backward(ctx, *grads)
        level = level_of_batches()
        # The batch becomes the first dimension; of a tensor that has one, the size that is given is not looked at.
        batches = [torch._remove_batch_dim(grad, level, 1, 0) if is_batched(grad) else None for grad in grads]
        size = next(len(batch) for batch in batches if batch is not None)
        once = ReadOnce(ctx)
        each = [
            for_all(once, *[grad if batch is None else batch[i] for grad, batch in zip(grads, batches)])
            for i in range(size)
        ]
        return tuple([None if of[0] is None else torch._add_batch_dim(torch.stack(of), 0, level) for of in zip(*each)])

    return for_all


class ReadOnce:
    """A context whose saved tensors are read a single time: hooks unpack them at each reading, checkpoints allow one."""

    def __init__(self, ctx: Any):
        self.ctx, self.saved_tensors = ctx, ctx.saved_tensors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ctx, name)


def level_of_batches() -> int:
    """How many batches are around each other here: torch tells whoever enters one more."""
    torch._C._vmapmode_increment_nesting()
    return torch._C._vmapmode_decrement_nesting()
