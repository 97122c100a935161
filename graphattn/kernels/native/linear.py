"""Linear maps by the loops of linear.c: y = x weightᵀ + bias, several of one x at a time, and their gradients.

Tables are float32 on the CPU. Each number is one sum in one order: any number of threads gives the same bits.
"""

import ctypes
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.native.arrays import empty
from graphattn.kernels.native.border import Struct, hand_over, readable
from graphattn.kernels.native.library import level, library, why_not_native
from graphattn.kernels.native.threads import count_pieces, even_bounds, run

FEWEST = 8  # rows and outputs that the loops take
REAL = torch.float32
CACHED = 2**18  # numbers of a table that stay in the second cache until the next tile reads them
FEWEST_OF_PIECE = 512  # rows that copied weights are worth


class Linear(Struct):
    """Linear of linear.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("maps", "rows", "inputs", "outputs")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "weight", "bias", "y", "grad_y", "grad_x", "grad_weight", "grad_bias")
        ),
    )

    def arrays(self, real):
        return arrays_of(self.rows, self.inputs, self.outputs)


@lru_cache(1024)
def arrays_of(rows: int, inputs: int, outputs: int) -> dict[str, tuple[torch.dtype, int]]:
    x, y, weight = rows * inputs, rows * outputs, outputs * inputs
    counts = {"x": x, "grad_x": x, "y": y, "grad_y": y, "weight": weight, "grad_weight": weight}
    counts |= dict.fromkeys(("bias", "grad_bias"), outputs)
    return {name: (REAL, count) for name, count in counts.items()}


@cache
def is_faster() -> bool:
    """Whether these loops multiply faster here than torch: on AMD's processors with AVX-512 its library does not use them."""
    return why_not_native() is None and bool(library().linear_is_faster())


def forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> list[Tensor]:
    """x weightᵀ + bias of each map, [rows, outputs].

    Args:
        x: [rows, inputs]; at least FEWEST rows, and one input.
        weights: [outputs, inputs] each; at least FEWEST outputs.
        biases: [outputs] each, or None.
    """
    x, (rows, inputs) = readable(x, REAL), x.shape
    results = [empty((rows, weight.size(0)), REAL) for weight in weights]
    maps = [
        hand_over(
            Linear(len(weights), rows, inputs, weight.size(0)), REAL,
            x=x, weight=readable(weight, REAL), bias=readable(bias, REAL), y=y,
        )
        for weight, bias, y in zip(weights, biases, results)
    ]  # fmt: skip
    run_over_rows("linear_forward", maps, inputs)
    return results


def backward_input(grads: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The sum of grad weight over maps, [rows, inputs], of the gradients of their results [rows, outputs]."""
    rows, inputs = grads[0].size(0), weights[0].size(1)
    result = empty((rows, inputs), REAL)
    maps = [
        hand_over(
            Linear(len(weights), rows, inputs, weight.size(0)), REAL,
            weight=readable(weight, REAL), grad_y=readable(grad, REAL), grad_x=result,
        )
        for weight, grad in zip(weights, grads)
    ]  # fmt: skip
    run_over_rows("linear_backward_input", maps, max(grad.size(1) for grad in grads))
    return result


def backward_weight(
    grads: Sequence[Tensor], x: Tensor, have_biases: Sequence[bool]
) -> list[tuple[Tensor, Tensor | None]]:
    """(gradᵀ x, the sum of the rows of grad or None) of each map."""
    x, (rows, inputs) = readable(x, REAL), x.shape
    sizes = [grad.size(1) for grad in grads]
    results = [
        (empty((outputs, inputs), REAL), empty((outputs,), REAL) if has_bias else None)
        for outputs, has_bias in zip(sizes, have_biases)
    ]
    maps = [
        hand_over(
            Linear(len(sizes), rows, inputs, grad.size(1)), REAL,
            x=x, grad_y=readable(grad, REAL), grad_weight=weight, grad_bias=bias,
        )
        for grad, (weight, bias) in zip(grads, results)
    ]  # fmt: skip
    block, tile = sizes_of_loops()
    items = -(-inputs // tile) * sum(-(-outputs // block) for outputs in sizes)
    run_all("linear_backward_weight", maps, items, pieces_for(rows * inputs * sum(sizes)))
    return results


def run_over_rows(name: str, maps: list[Linear], columns: int) -> None:
    """A loop over blocks of rows, of which each piece copies the weights once and reads its part of a table for each tile."""
    rows, work = maps[0].rows, maps[0].rows * maps[0].inputs * sum(struct.outputs for struct in maps)
    most, pieces = max(CACHED // max(columns, 1), FEWEST_OF_PIECE), pieces_for(work)
    run_all(name, maps, -(-rows // sizes_of_loops()[0]), pieces * -(-rows // (pieces * most)))


def pieces_for(work: int) -> int:
    """Few, as each makes copies of its own; numbers are the same for any."""
    return min(count_pieces(work), 2 * torch.get_num_threads())


def run_all(name: str, maps: list[Linear], items: int, pieces: int) -> None:
    """A loop over all maps."""
    side_by_side: Any = (Linear * len(maps))(*maps)
    side_by_side.kept = maps  # and they their tensors, as long as a thread is at work
    run(f"{name}_f32", side_by_side, even_bounds(items, min(pieces, items)))


@cache
def sizes_of_loops() -> tuple[int, int]:
    """(rows of a block, columns of a tile) of the loops for this processor."""
    block, tile = (ctypes.c_int64 * 2).in_dll(library(), f"linear_sizes_f32{level()}")
    return block, tile
