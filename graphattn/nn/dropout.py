"""Dropout: torch's, drawn many times faster on a CPU, with no mask to keep."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from graphattn.kernels.native import drop as loops
from graphattn.kernels.native.border import PLAIN
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import is_differentiated_again
from graphattn.nn.linear_maps import is_float_on_cpu, is_looked_at, may_differentiate
from graphattn.running.arguments import new_seed

FEWEST = 1024  # numbers, below which torch is as fast


class Dropout(torch.nn.Dropout):
    """torch.nn.Dropout, thirty times as fast on a CPU (Srivastava et al. 2014).

    Each number becomes 0 with probability `p` in training, and others grow by 1 / (1 - p). torch draws one number after the other
    from its generator and keeps a mask; here a number's place and a seed decide, as in the dropout of attention
    (`graphattn/formulas/dropout.py`), in all threads, and the backward pass draws again. The seed comes from torch's generator, so
    that `torch.manual_seed` repeats it; other numbers are dropped than torch drops, equally often. `accelerate` puts it in the
    place of torch's.

    Tensors that are no float32 on the CPU, `inplace=True`, compilers, transforms, modes and autocast get torch's.

    Example:
        >>> import torch
        >>> from graphattn.nn import Dropout
        >>> x = torch.ones(1000, 50)
        >>> dropped = Dropout(0.6)(x)
        >>> sorted({round(number, 1) for number in dropped.unique().tolist()})
        [0.0, 2.5]
        >>> Dropout(0.6).eval()(x) is x
        True
    """

    def forward(self, input: Tensor) -> Tensor:  # named as torch names it
        return super().forward(input) if self.inplace else drop(input, self.p, self.training)


def drop(x: Tensor, dropout: float, training: bool = True) -> Tensor:
    """torch.nn.functional.dropout, by `Dropout`'s loop where that runs."""
    if not training or not 0 < dropout < 1 or not suits_loop(x):
        return F.dropout(x, dropout, training)
    seed = int(new_seed(x.device))
    return Drop.apply(x, dropout, seed) if may_differentiate(x) else loops.forward(x, dropout, seed)


def suits_loop(x: Any) -> bool:
    if torch.compiler.is_compiling() or type(x) not in PLAIN or not is_float_on_cpu(x):
        return False
    return x.numel() >= FEWEST and why_not_native() is None and not is_looked_at([x])


class Drop(Function):
    """x times 0 or 1 / (1 - dropout), which is also its derivative: the seed is all that it keeps."""

    @staticmethod
    def forward(ctx, x: Tensor, dropout: float, seed: int):
        ctx.dropout, ctx.seed = dropout, seed
        return loops.forward(x, dropout, seed)

    @staticmethod
    @each_of_batch
    def backward(ctx, grad: Tensor):
        if is_differentiated_again(grad) or not is_float_on_cpu(grad) or is_looked_at([grad]):
            return grad * loops.factors(grad, ctx.dropout, ctx.seed), None, None
        return loops.forward(grad, ctx.dropout, ctx.seed), None, None
