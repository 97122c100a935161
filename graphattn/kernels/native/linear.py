"""Linear maps by the loops of linear.c: y = x weightᵀ + bias, several of one x at a time, and their gradients.

Tables are float32 on the CPU. Each number is one sum in one order: any number of threads gives the same bits.
"""

import ctypes
from collections.abc import Sequence
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.native.arrays import empty
from graphattn.kernels.native.border import Struct, hand_over, let_read
from graphattn.kernels.native.library import level, library, why_not_native
from graphattn.kernels.native.threads import count_pieces, even_bounds, run

FEWEST = 8  # rows that the loops take
REAL = torch.float32
CACHED = 2**18  # numbers of a table that stay in the second cache until the next tile reads them
FEWEST_OF_PIECE = 512  # rows that copied weights are worth


class Linear(Struct):
    """Linear of linear.h."""

    ROWS = MappingProxyType({"x": "x_row", "grad_x": "x_row", "y": "y_row", "grad_y": "y_row"})
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("maps", "rows", "inputs", "outputs", "x_row", "y_row", "relu")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "weight", "bias", "y", "grad_y", "grad_x", "passed", "grad_weight", "grad_bias")
        ),
    )

    def arrays(self, real):
        return arrays_of(self.rows, self.inputs, self.outputs)


@lru_cache(1024)
def arrays_of(rows: int, inputs: int, outputs: int) -> dict[str, tuple[torch.dtype, int]]:
    x, y, weight = rows * inputs, rows * outputs, outputs * inputs
    counts = {"x": x, "grad_x": x, "passed": x, "y": y, "grad_y": y, "weight": weight, "grad_weight": weight}
    counts |= dict.fromkeys(("bias", "grad_bias"), outputs)
    return {name: (REAL, count) for name, count in counts.items()}


@cache
def is_faster() -> bool:
    """Whether these loops multiply faster here than torch: on AMD's processors with AVX-512 its library does not use them."""
    return why_not_native() is None and bool(library().linear_is_faster())


def forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], relu: bool = False) -> list[Tensor]:
    """x weightᵀ + bias of each map, [rows, outputs], or relu of that.

    Args:
        x: [rows, inputs]; at least FEWEST rows, and one input.
        weights: [outputs, inputs] each; at least one output.
        biases: [outputs] each, or None.
    """
    results = [empty((x.size(0), weight.size(0)), REAL) for weight in weights]
    multiply([x] * len(weights), weights, biases, results, relu)
    return results


def backward_input(grads: Sequence[Tensor], weights: Sequence[Tensor], passed: Tensor | None = None) -> Tensor:
    """The sum of grad weight over maps, [rows, inputs], of the gradients of their results [rows, outputs].

    Args:
        passed: [rows, inputs], what relu made the table of that was mapped: the gradient is that before relu.
    """
    result = empty((grads[0].size(0), weights[0].size(1)), REAL)
    multiply_back(grads, weights, [result] * len(weights), passed)
    return result


def backward_weight(
    grads: Sequence[Tensor], x: Tensor, have_biases: Sequence[bool]
) -> list[tuple[Tensor, Tensor | None]]:
    """(gradᵀ x, the sum of the rows of grad or None) of each map."""
    results = [
        (empty((grad.size(1), x.size(1)), REAL), empty((grad.size(1),), REAL) if has_bias else None)
        for grad, has_bias in zip(grads, have_biases)
    ]
    multiply_over_rows(grads, [x] * len(grads), results)
    return results


def by_head(x: Tensor, weights: Tensor) -> Tensor:
    """x weight of each head, [rows, heads, outputs].

    Args:
        x: [rows, heads, inputs]; at least FEWEST rows and inputs.
        weights: [heads, inputs, outputs]; at least FEWEST outputs.
    """
    result = empty((x.size(0), *weights.shape[::2]), REAL)
    if weights.mT.is_contiguous():
        multiply(x.unbind(1), weights.mT.unbind(), [None] * len(weights), result.unbind(1))
    else:
        multiply_back(x.unbind(1), weights.unbind(), result.unbind(1))
    return result


def by_head_over_rows(x: Tensor, y: Tensor) -> Tensor:
    """xᵀ y of each head, [heads, inputs, outputs], of x [rows, heads, inputs] and y [rows, heads, outputs]."""
    result = empty((x.size(1), x.size(2), y.size(2)), REAL)
    multiply_over_rows(x.unbind(1), y.unbind(1), [(matrix, None) for matrix in result])
    return result


def multiply(
    tables: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    results: Sequence[Tensor],
    relu: bool = False,
) -> None:
    """results = tables weightsᵀ + biases, of tables that have as many rows, or relu of that."""
    maps = [
        let_read(hand_over(map_of(len(weights), x, weight, relu), REAL, y=y), REAL, x=x, weight=weight, bias=bias)
        for x, weight, bias, y in zip(tables, weights, biases, results)
    ]
    run_over_rows("linear_forward", maps, maps[0].inputs)


def multiply_back(
    grads: Sequence[Tensor], weights: Sequence[Tensor], results: Sequence[Tensor], passed: Tensor | None = None
) -> None:
    """results = grads weights, or, if the results are one, their sum, 0 where relu passed nothing."""
    maps = [
        let_read(
            hand_over(map_of(len(weights), x, weight), REAL, grad_x=x), REAL, weight=weight, grad_y=grad, passed=passed
        )
        for x, weight, grad in zip(results, weights, grads)
    ]
    run_over_rows("linear_backward_input", maps, max(map.outputs for map in maps))


def multiply_over_rows(
    grads: Sequence[Tensor], tables: Sequence[Tensor], results: Sequence[tuple[Tensor, Tensor | None]]
) -> None:
    """results = (gradsᵀ tables, the sum of the rows of grads where it is asked for)."""
    maps = [
        let_read(
            hand_over(map_of(len(grads), x, of_weight), REAL, grad_weight=of_weight, grad_bias=of_bias), REAL, x=x, grad_y=grad
        )
        for x, grad, (of_weight, of_bias) in zip(tables, grads, results)
    ]  # fmt: skip
    block, tile = sizes_of_loops()
    items = sum(-(-map.inputs // tile) * -(-map.outputs // block) for map in maps)
    run_all("linear_backward_weight", maps, items, pieces_for(work_of(maps)))


def map_of(count: int, x: Tensor, weight: Tensor, relu: bool = False) -> Linear:
    """The sizes of one of so many maps, by its table [rows, inputs] and its weight [outputs, inputs]."""
    return Linear(count, x.size(0), weight.size(1), weight.size(0), relu=relu)


def work_of(maps: list[Linear]) -> int:
    """How many multiplications they are."""
    return sum(map.rows * map.inputs * map.outputs for map in maps)


def run_over_rows(name: str, maps: list[Linear], columns: int) -> None:
    """A loop over blocks of rows, of which each piece copies the weights once and reads its part of a table for each tile."""
    rows, most, pieces = maps[0].rows, max(CACHED // max(columns, 1), FEWEST_OF_PIECE), pieces_for(work_of(maps))
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
