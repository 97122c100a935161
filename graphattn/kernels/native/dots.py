"""What GAT's score needs of each node, its dot products with two vectors of a head, by the loops of dots.c; float32 on the CPU."""

import ctypes

import torch
from torch import Tensor

from graphattn.kernels.native.arrays import empty
from graphattn.kernels.native.border import Struct, hand_over, let_read
from graphattn.kernels.native.threads import count_pieces, even_bounds, run

REAL = torch.float32
PIECE = 2**15  # numbers


class Dots(Struct):
    """Dots of dots.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "heads", "dim", "pieces")),
        *((name, ctypes.c_void_p) for name in ("x", "source", "target", "of_source", "of_target", "grad_of_source")),
        *((name, ctypes.c_void_p) for name in ("grad_of_target", "grad_x", "grad_source", "grad_target")),
    )

    def arrays(self, real):
        nodes, width = self.rows * self.heads, self.heads * self.dim
        counts = dict.fromkeys(("x", "grad_x"), nodes * self.dim) | dict.fromkeys(("source", "target"), width)
        counts |= dict.fromkeys(("of_source", "of_target", "grad_of_source", "grad_of_target"), nodes)
        counts |= dict.fromkeys(("grad_source", "grad_target"), self.pieces * width)
        return {name: (REAL, count) for name, count in counts.items()}


def forward(x: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(x · source, x · target), [rows, heads, 1] each, as the score takes them.

    Args:
        x: [rows, heads, dim].
        source, target: [heads, dim].
    """
    struct, bounds = prepare(x)
    found = empty((*x.shape[:2], 1), REAL), empty((*x.shape[:2], 1), REAL)
    let_read(struct, REAL, x=x, source=source, target=target)
    run("dots_forward_f32", hand_over(struct, REAL, of_source=found[0], of_target=found[1]), bounds)
    return found


def backward(
    x: Tensor, source: Tensor, target: Tensor, of_source: Tensor, of_target: Tensor, grad_x: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of source and target, [heads, dim]; that of x is added to `grad_x`.

    Args:
        of_source, of_target: The gradients of what `forward` gives.
        grad_x: [rows, heads, dim].
    """
    struct, bounds = prepare(x)
    found = [empty((struct.pieces, *x.shape[1:]), REAL) for _ in range(2)]
    let_read(struct, REAL, x=x, source=source, target=target, grad_of_source=of_source, grad_of_target=of_target)
    hand_over(struct, REAL, grad_x=grad_x, grad_source=found[0], grad_target=found[1])
    run("dots_backward_f32", struct, bounds)
    if struct.pieces > 1:
        run("dots_add_pieces_f32", struct, even_bounds(struct.pieces, 1))
    return found[0][0], found[1][0]


def prepare(x: Tensor) -> tuple[Dots, Tensor]:
    bounds = even_bounds(x.size(0), min(count_pieces(x.numel(), PIECE), max(x.size(0), 1)))
    return Dots(*x.shape, bounds.numel() - 1), bounds
