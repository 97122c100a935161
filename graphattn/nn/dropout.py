"""Dropout: torch's, drawn many times faster on a CPU, with no mask to keep."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.fx import Proxy

from graphattn.kernels.native import drop as loops
from graphattn.kernels.native.border import PLAIN
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.plain.batched import each_of_batch
from graphattn.kernels.plain.differentiable import is_differentiated_again
from graphattn.nn.linear_maps import is_float_on_cpu, is_looked_at, may_differentiate
from graphattn.running.arguments import new_seed

FEWEST = 1024  # numbers, below which torch is as fast


class Dropout(torch.nn.Dropout):
    """torch.nn.Dropout, many times as fast on a CPU (Srivastava et al. 2014).

    Each number becomes 0 with probability `p` in training, and others grow by 1 / (1 - p). torch draws one number after the other
    from its generator and keeps a mask; here a number's place and a seed decide, as in the dropout of attention
    (`graphattn/formulas/dropout.py`), in all threads, and the backward pass draws again. The seed comes from torch's generator, so
    that `torch.manual_seed` repeats it; other numbers are dropped than torch drops, equally often. `accelerate` puts it in the
    place of torch's.

    Fewer than 1,024 numbers, tensors that are not float32 and contiguous on the CPU, `inplace=True`, compilers, transforms,
    modes and autocast get torch's. torch.fx.symbolic_trace records the module, as it does torch's.

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
        if torch.jit.is_scripting():
            return F.dropout(input, self.p, self.training, self.inplace)
        else:
            return dropped(self, input)


def dropped(module: Dropout, x: Any) -> Any:
    """What a Dropout makes of its input."""
    if isinstance(x, Proxy):  # of a tracer that goes into all modules but torch's own
        tracer: Any = x.tracer
        return tracer.create_proxy("call_module", tracer.path_of_module(module), (x,), {})
    if module.inplace:
        return F.dropout(x, module.p, module.training, inplace=True)
    return drop(x, module.p, module.training)


def drop(x: Tensor, dropout: float, training: bool = True) -> Tensor:
    """torch.nn.functional.dropout, by `Dropout`'s loop where that runs."""
    if not training or not suits_loop(x) or not 0 < round(float(dropout) * 2**32) < 2**32:
        return F.dropout(x, dropout, training)
    seed = new_seed(x.device)
    return Drop.apply(x, float(dropout), seed) if may_differentiate(x) else loops.forward(x, float(dropout), int(seed))


def suits_loop(x: Any) -> bool:
    if torch.compiler.is_compiling() or type(x) not in PLAIN or not is_float_on_cpu(x):
        return False
    # torch keeps the strides of others.
    return x.numel() >= FEWEST and x.is_contiguous() and why_not_native() is None and not is_looked_at([x])


class Drop(Function):
    """x times 0 or 1 / (1 - dropout), which is also its derivative.

    The seed is all that it keeps, as a tensor: a checkpoint may draw another one when it runs this again.
    """

    @staticmethod
    def forward(ctx, x: Tensor, dropout: float, seed: Tensor):
        ctx.dropout = dropout
        ctx.save_for_backward(seed)
        return loops.forward(x, dropout, int(seed))

    @staticmethod
    @each_of_batch
    def backward(ctx, grad: Tensor):
        (seed,) = ctx.saved_tensors
        if is_differentiated_again(grad) or not is_float_on_cpu(grad) or is_looked_at([grad]):
            return grad * loops.factors(grad, ctx.dropout, int(seed)), None, None
        return loops.forward(grad, ctx.dropout, int(seed)), None, None
