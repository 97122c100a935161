"""Tensors of nodes that are columns of one table, as queries, keys and values are where one product makes them.

Loops read them where they lie, and write their gradients as columns of one table too: then the product that made them is
differentiated by one product again, and nothing is copied.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

MARK = "graphattn_columns"  # an attribute of memory that `empty_columns` made, which holds its `Columns`


class Columns(NamedTuple):
    shape: tuple[int, int]  # of the table
    first: int  # number in its memory, where the table starts
    spans: list[tuple[int, int]]  # start and end of the columns that have been given out


def empty_columns(tensors: Sequence[Tensor], make: Callable[[tuple[int, int]], Tensor]) -> list[Tensor] | None:
    """Memory for the gradient of each tensor [num_nodes, heads, dim], in the columns where the tensors lie themselves.

    Args:
        make: (rows, width) -> a table with any numbers in it.

    Returns:
        Tensors of the same shapes, or None if the tensors are no columns of one table, or too few of its columns.
    """
    spans = spans_in_table(tensors)
    if spans is None:
        return None
    shape = tensors[0].size(0), int(tensors[0].stride(0))
    table = make(shape)
    memory, first = table if table._base is None else table._base, table.storage_offset()
    setattr(memory, MARK, Columns(shape, int(first), spans))
    return [table.as_strided(x.shape, x.stride(), first + start) for x, (start, _) in zip(tensors, spans)]


def spans_in_table(tensors: Sequence[Tensor]) -> list[tuple[int, int]] | None:
    """Start and end of the columns of each tensor, if all are in one table, apart, and at least half of its width."""
    num_nodes, row = tensors[0].size(0), int(tensors[0].stride(0))
    if num_nodes < 2 or not row or tensors[0].is_contiguous():
        return None
    memory, spans = tensors[0].untyped_storage().data_ptr(), []
    for x in tensors:
        start, width = int(x.storage_offset()) % row, x.size(1) * x.size(2)
        if x.shape[0] != num_nodes or x.stride() != (row, x.size(2), 1) or start + width > row:
            return None
        if not width or x.untyped_storage().data_ptr() != memory:
            return None
        spans.append((start, start + width))
    in_order = sorted(spans)
    is_apart = all(end <= start for (_, end), (start, _) in pairwise(in_order))
    return spans if is_apart and 2 * sum(end - start for start, end in spans) >= row else None


def join_columns(parts: Sequence[Tensor | None], widths: Sequence[int], like: Tensor) -> Tensor:
    """Gradients [num_nodes, ...] side by side: [num_nodes, sum of widths], zeros for None.

    Those that `empty_columns` put into these very columns are there already; the rest is copied to them.

    Args:
        like: A tensor [num_nodes, ...] of the dtype and on the device of the gradients.
    """
    num_nodes, ends = like.size(0), list(accumulate(widths))
    spans = [(end - width, end) for width, end in zip(widths, ends)]
    table = None if torch.is_grad_enabled() else table_under(parts, spans, (num_nodes, ends[-1]))
    if table is None:
        whole = [like.new_zeros(num_nodes, w) if x is None else x.reshape(num_nodes, w) for x, w in zip(parts, widths)]
        return torch.cat(whole, 1)
    for x, (start, end) in zip(parts, spans):
        if x is None:
            table[:, start:end] = 0
        elif x._base is not table._base:
            table[:, start:end] = x.reshape(num_nodes, end - start)
    return table


def table_under(
    parts: Sequence[Tensor | None], spans: Sequence[tuple[int, int]], shape: tuple[int, int]
) -> Tensor | None:
    """The table of `empty_columns`, if all columns that it gave out are among the parts, where they were."""
    memory = next((x._base for x in parts if x is not None and hasattr(x._base, MARK)), None)
    if memory is None:
        return None
    columns: Columns = getattr(memory, MARK)
    inside = []
    for x, (start, end) in zip(parts, spans):
        if x is not None and x._base is memory:
            if x.stride(0) != shape[1] or x.storage_offset() != columns.first + start:
                return None
            inside.append((start, end))
    if columns.shape != shape or sorted(inside) != sorted(columns.spans):
        return None
    like = next(x for x in parts if x is not None and x._base is memory)
    return like.as_strided(shape, (shape[1], 1), columns.first)
