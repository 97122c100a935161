"""Compressed sparse rows: the edges of a graph, sorted once."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.types import Device

from graphattn.graphs.sorting import loops_for


class CSR(NamedTuple):
    """Edges sorted by (row, column), stable; int32 where sizes and edges fit, else int64."""

    rowptr: Tensor  # [num_rows + 1] where the entries of each row start
    col: Tensor  # [num_edges] column of each entry
    edge_id: Tensor | None  # [num_edges] place of each entry in graph.edge_index(); None = the same order

    def to(self, device: Device) -> "CSR":
        """The same arrays on `device`."""
        return CSR(
            self.rowptr.to(device), self.col.to(device), None if self.edge_id is None else self.edge_id.to(device)
        )

    def clone(self) -> "CSR":
        """The same numbers in other memory."""
        return CSR(self.rowptr.clone(), self.col.clone(), None if self.edge_id is None else self.edge_id.clone())


def index_dtype(*sizes: int) -> torch.dtype:
    """int32 where every one of `sizes` fits, else int64."""
    return torch.int32 if max(sizes) < 2**31 else torch.int64


def row_pointer(degrees: Tensor) -> Tensor:
    """Running sum of `degrees` with a leading zero, int64."""
    rowptr = degrees.new_zeros(degrees.numel() + 1, dtype=torch.int64)
    torch.cumsum(degrees, 0, out=rowptr[1:])
    return rowptr


def rows_of(rowptr: Tensor) -> Tensor:
    """Row of each entry: `[num_edges]` int64."""
    rows = torch.arange(rowptr.numel() - 1, device=rowptr.device)
    return torch.repeat_interleave(rows, rowptr.diff().long())


def compress(degrees: Tensor, col: Tensor, num_cols: int, edge_id: Tensor | None = None) -> CSR:
    """CSR of entries that are sorted already, given the number of entries of each row."""
    dtype = index_dtype(degrees.numel(), num_cols, col.numel())
    edge_id = None if edge_id is None else edge_id.to(dtype)
    return CSR(row_pointer(degrees).to(dtype), col.to(dtype), edge_id)


def compress_edges(row: Tensor, col: Tensor, num_rows: int, num_cols: int, known_order: bool | None = None) -> CSR:
    """CSR of edges in any order; indices must be in range. `known_order` is what `is_sorted` says of them, if that is known.

    >>> csr = compress_edges(torch.tensor([1, 0]), torch.tensor([2, 1]), 2, 3)
    >>> csr.rowptr.tolist(), csr.col.tolist(), csr.edge_id.tolist()
    ([0, 1, 2], [1, 2], [1, 0])
    """
    if is_sorted(row, col) if known_order is None else known_order:
        return compress(torch.bincount(row, minlength=num_rows), col, num_cols)
    loops = loops_for(row, col)
    can_count = num_cols < 2**20 + 16 * row.numel()  # the time and memory for all columns, also those without an edge
    if loops is not None and can_count and index_dtype(num_rows, num_cols, row.numel()) == torch.int32:
        return CSR(*loops.sort_pairs(row, col, num_rows, num_cols))
    order = torch.argsort(row.long() * num_cols + col, stable=True)
    return compress(torch.bincount(row, minlength=num_rows), col[order], num_cols, order)


def is_sorted(row: Tensor, col: Tensor) -> bool:
    """True where entries run by (row, column); indices must be in range."""
    loops = loops_for(row, col)
    if loops is not None:
        return loops.is_sorted(row, col)
    rises = row.diff()
    if (rises < 0).any():
        return False
    return bool(((rises > 0) | (col.diff() >= 0)).all())


def transpose(csr: CSR, num_cols: int) -> CSR:
    """The same edges by (column, row); `edge_id` keeps pointing to the same places."""
    loops = loops_for(csr.col, csr.rowptr)
    if (
        loops is not None
        and index_dtype(num_cols, csr.rowptr.numel(), csr.col.numel()) == csr.rowptr.dtype == torch.int32
    ):
        return CSR(*loops.turn_rows(csr.rowptr, csr.col, csr.edge_id, num_cols))
    rows = rows_of(csr.rowptr)
    flipped = compress_edges(csr.col.long(), rows, num_cols, csr.rowptr.numel() - 1)
    if flipped.edge_id is None or csr.edge_id is None:
        return flipped._replace(edge_id=csr.edge_id if flipped.edge_id is None else flipped.edge_id)
    return flipped._replace(edge_id=csr.edge_id[flipped.edge_id])
