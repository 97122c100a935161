"""A bound on the memory of one pass: rows of a graph a range at a time, with the same result."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs import CSR, EdgeListGraph
from graphattn.kernels.kernel import Inputs, Kernel, accumulation_dtype, count_edges
from graphattn.kernels.parts import Part

_BUDGET: ContextVar[int | None] = ContextVar("memory_budget", default=None)
BYTES_OF_EDGE = 100  # of a range: its two nodes, the range's CSR and CSR transposed, and what sorting takes


@contextmanager
def memory_budget(num_bytes: int) -> Iterator[None]:
    """Inside, `attend` and the layers on it keep what they need per edge below `num_bytes`, forward and backward.

    Kernels that keep numbers for every edge and head run over ranges of queries, one after the other; a query's edges stay
    together, so that one query of very many edges may need more. The result is that without a budget, sums over queries
    (gradients of keys, values and parameters) up to rounding. Not counted: inputs, results, their gradients, the graph;
    attention weights that are asked for, second derivatives and forward mode, which keep a few numbers for each edge and head.

    Args:
        num_bytes: At least 1.

    Example:
        >>> import torch
        >>> from graphattn import attend, memory_budget
        >>> x, edge_index = torch.randn(100, 4, 8), torch.randint(100, (2, 5000))
        >>> with memory_budget(2**18):
        ...     out = attend(x, x, x, edge_index)
        >>> torch.equal(out, attend(x, x, x, edge_index))
        True
    """
    if isinstance(num_bytes, bool) or not isinstance(num_bytes, (int, np.integer)) or num_bytes < 1:
        raise ValueError(f"'num_bytes' must be a positive int (got {num_bytes!r})")
    token = _BUDGET.set(int(num_bytes))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def current_budget() -> int | None:
    """Bytes, None where there is no bound."""
    return _BUDGET.get()


def within_budget(part: Part, kernel: Kernel, inputs: Inputs, num_bytes: int, keep_queries: bool) -> Iterator[Part]:
    """`part` of a graph cut into ranges of its queries, small enough for `kernel` to stay below `num_bytes`.

    A range is made when it is asked for, and gone when nobody has it any more. `keep_queries` leaves all queries in every
    range, for dropout, which is drawn by their number.
    """
    of_heads = kernel.numbers_kept * inputs.query.size(1) * accumulation_dtype(inputs.query.dtype).itemsize
    if count_edges(part.graph) * of_heads <= num_bytes:
        yield part
        return
    csr = part.graph.by_query(inputs.query.device)
    most = max(num_bytes // (BYTES_OF_EDGE + of_heads), 1)
    for first, last in row_ranges(csr.rowptr, most):
        yield range_of(part, csr, first, last, keep_queries)


def row_ranges(rowptr: Tensor, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most so many entries, or of one row.

    >>> list(row_ranges(torch.tensor([0, 2, 3, 9, 9, 10]), 3))
    [(0, 2), (2, 3), (3, 5)]
    """
    first, num_rows = 0, rowptr.numel() - 1
    while first < num_rows:
        last = int(torch.searchsorted(rowptr, rowptr[first] + most, right=True)) - 1
        last = min(max(last, first + 1), num_rows)
        yield first, last
        first = last


def range_of(part: Part, csr: CSR, first: int, last: int, keep_queries: bool) -> Part:
    """The edges of the queries first .. last - 1 of a part."""
    start, end = int(csr.rowptr[first]), int(csr.rowptr[last])
    rowptr = csr.rowptr.clamp(start, end) if keep_queries else csr.rowptr[first : last + 1]
    graph = EdgeListGraph.of_rows(CSR(rowptr - start, csr.col[start:end], None), part.graph.num_keys)
    places = slice(start, end) if csr.edge_id is None else csr.edge_id[start:end].long()
    if keep_queries:
        return Part(graph, part.query_rows, part.key_rows, places)
    queries = torch.arange(first, last, device=csr.col.device)
    return Part(graph, queries if part.query_rows is None else part.query_rows[queries], part.key_rows, places)
