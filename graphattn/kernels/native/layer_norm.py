"""Layer norm over the numbers of each example, by the loops of layer_norm.c; float32 on the CPU."""

import ctypes
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import CompleteGraph
from graphattn.kernels.native.arrays import empty
from graphattn.kernels.native.border import Struct, hand_over, let_read
from graphattn.kernels.native.rows import cut_evenly
from graphattn.kernels.native.threads import count_pieces, run

REAL = torch.float32
PIECE = 2**14  # numbers, some 20 us


class LayerNorm(Struct):
    """LayerNorm of layer_norm.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "channels", "examples", "pieces")),
        ("eps", ctypes.c_double),
        *(
            (name, ctypes.c_void_p)
            for name in ("starts", "x", "other", "added", "sum", "weight", "bias", "y", "mean", "scale", "grad_y")
        ),
        *((name, ctypes.c_void_p) for name in ("grad_x", "grad_weight", "grad_bias")),
    )

    def arrays(self, real):
        return arrays_of(self.rows * self.channels, self.channels, self.examples, self.pieces)


@lru_cache(1024)
def arrays_of(numbers: int, channels: int, examples: int, pieces: int) -> dict[str, tuple[torch.dtype, int]]:
    counts = dict.fromkeys(("x", "other", "added", "sum", "y", "grad_y", "grad_x"), numbers)
    counts |= dict.fromkeys(("weight", "bias"), channels) | dict.fromkeys(("mean", "scale"), examples)
    counts |= dict.fromkeys(("grad_weight", "grad_bias"), pieces * channels)
    return {"starts": (torch.int64, examples + 1), **{name: (REAL, count) for name, count in counts.items()}}


class Examples(NamedTuple):
    """Where the nodes of examples that lie end to end begin."""

    starts: Tensor  # int64 [examples + 1]
    bounds: dict[int, Tensor]  # of pieces with about as many nodes each, by how many they are

    def cut(self, pieces: int) -> Tensor:
        if pieces not in self.bounds:
            self.bounds[pieces] = cut_evenly(self.starts, pieces)
        return self.bounds[pieces]


def examples_of(graph: CompleteGraph) -> Examples:
    return graph.remember("examples", lambda: Examples(torch.tensor(graph.query_ptr, device="cpu"), {}))


def forward(
    x: Tensor,
    other: Tensor | None,
    added: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    examples: Examples,
    keeps_sum: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """(norm(x + other) + added [rows, channels], x + other if it is kept, mean and 1 / sqrt(variance + eps) of each example).

    Args:
        x: [rows, channels].
        other, added: [rows, channels], or None: nothing is added there, and no sum kept.
    """
    struct, bounds = prepare(x, eps, examples)
    y, mean, scale = empty(x.shape, REAL), empty((struct.examples,), REAL), empty((struct.examples,), REAL)
    total = empty(x.shape, REAL) if keeps_sum and other is not None else None
    let_read(struct, REAL, x=x, other=other, added=added, weight=weight, bias=bias)
    run("layer_norm_forward_f32", hand_over(struct, REAL, y=y, sum=total, mean=mean, scale=scale), bounds)
    return y, total, mean, scale


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    examples: Examples,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of x (the sum, where there is one), weight and bias, None for those that are not needed."""
    struct, bounds = prepare(x, 0.0, examples)
    of_x = empty(x.shape, REAL) if needed[0] else None
    of_weight, of_bias = (
        empty((struct.pieces, struct.channels), REAL) if is_needed else None for is_needed in needed[1:]
    )
    let_read(struct, REAL, x=x, weight=weight, grad_y=grad, mean=mean, scale=scale)
    hand_over(struct, REAL, grad_x=of_x, grad_weight=of_weight, grad_bias=of_bias)
    run("layer_norm_backward_f32", struct, bounds)
    return of_x, None if of_weight is None else of_weight.sum(0), None if of_bias is None else of_bias.sum(0)


def prepare(x: Tensor, eps: float, examples: Examples) -> tuple[LayerNorm, Tensor]:
    bounds = examples.cut(count_pieces(x.numel(), PIECE))
    struct = LayerNorm(x.size(0), x.size(1), examples.starts.numel() - 1, bounds.numel() - 1, eps)
    hand_over(struct, REAL, starts=examples.starts)
    return struct, bounds
