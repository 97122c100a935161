"""The edges of a graph as the loops in C walk over them: rows of a CSR, by query and by key."""

from dataclasses import dataclass, field
from typing import overload

import numpy as np
import torch
from torch import Tensor

from graphattn.graphs import CSR, Graph
from graphattn.graphs.csr import transpose
from graphattn.kernels.native.border import readable
from graphattn.kernels.plain.edges_torch import sorted_edges

HEAVY = 2**14  # edges; a row with more is cut into pieces, so that one query cannot keep all cores but one idle


def cut_evenly(starts: Tensor, count: int) -> Tensor:
    """int64 [pieces + 1]: at most `count` ranges of rows with about as many entries each.

    Args:
        starts: int64 [num_rows + 1], where the entries of each row begin, and the number of all.
        count: At least 1.
    """
    ends = starts.numpy()
    # By NumPy, whose operations on so few numbers take a quarter of the time of torch's.
    cuts = np.empty(count + 1, np.int64)
    cuts[0], cuts[-1] = 0, ends.size - 1
    if count > 1:
        cuts[1:-1] = ends.searchsorted(np.arange(1, count) * ends[-1] // count)
    is_new = cuts[1:] > cuts[:-1]
    if count > 1 and np.count_nonzero(is_new) < count:  # some piece would be empty
        cuts = np.append(0, cuts[1:][is_new] if is_new.any() else 0)
    return torch.from_numpy(cuts)


@dataclass(frozen=True, eq=False)
class Rows:
    rowptr: Tensor  # int64 [num_rows + 1]
    row_of: Tensor | None  # int64 [num_rows], the node of each row; None if every node is one row
    col: Tensor  # int32 or int64
    cuts: dict[int, Tensor] = field(default_factory=dict)  # by count of pieces

    @property
    def num_rows(self) -> int:
        return self.rowptr.numel() - 1

    def bounds(self, count: int) -> Tensor:
        """int64 [pieces + 1]: at most `count` ranges of rows with about equal numbers of edges; remembered."""
        if count not in self.cuts:
            self.cuts[count] = cut_evenly(self.rowptr, count)
        return self.cuts[count]

    @overload
    def add_up(self, x: Tensor, num_nodes: int) -> Tensor: ...

    @overload
    def add_up(self, x: Tensor | None, num_nodes: int) -> Tensor | None: ...

    def add_up(self, x: Tensor | None, num_nodes: int) -> Tensor | None:
        """[num_rows, ...] -> [num_nodes, ...] where heavy rows were cut."""
        if x is None or self.row_of is None:
            return x
        return x.new_zeros(num_nodes, *x.shape[1:]).index_add_(0, self.row_of, x)


def cut_rows(csr: CSR) -> Rows:
    rowptr, col = readable(csr.rowptr, torch.int64), readable(csr.col, csr.col.dtype)
    if col.numel() <= HEAVY or (degrees := rowptr.diff()).max() <= HEAVY:
        return Rows(rowptr, None, col)
    pieces = (-(-degrees // HEAVY)).clamp(min=1)
    row_of = torch.repeat_interleave(pieces)
    number = (
        torch.arange(row_of.numel(), device="cpu") - (pieces.cumsum(0) - pieces)[row_of]
    )  # of each piece in its row
    rowptr = torch.cat([rowptr[row_of] + number * HEAVY, rowptr[-1:]])
    return Rows(readable(rowptr, torch.int64), readable(row_of, torch.int64), col)


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Everything that the loops need of a graph, made once."""

    by_query: Rows
    edge_id: Tensor | None  # in the dtype of `col`, place in edge_index() of each entry; None if it is the same
    calls: dict = field(default_factory=dict)  # structs for sizes and options that came before (native/edges.py)


@dataclass(frozen=True, eq=False)
class Transposition:
    by_key: Rows
    place: Tensor  # among the entries by query, of each entry by key; in the dtype of `col`


def arrangement(graph: Graph) -> Arrangement:
    def build(device) -> Arrangement:
        csr = graph.by_query(device)
        return Arrangement(cut_rows(csr), readable(csr.edge_id, csr.col.dtype))

    return graph.remember_on("edges_cpu arrangement", "cpu", build)


def keys_have_one_query(graph: Graph) -> bool:
    """At most: gradients of keys and values are then no sums, and need no pass of their own."""

    def build(device) -> bool:
        col = graph.by_query(device).col
        return col.numel() <= graph.num_keys and (not col.numel() or int(torch.bincount(col).max()) == 1)

    return graph.remember_on("edges_cpu one query", "cpu", build)


def transposition(graph: Graph) -> Transposition:
    def build(device) -> Transposition:
        # Of the rows that are sorted already, whatever places they have in edge_index().
        turned = transpose(graph.by_query(device)._replace(edge_id=None), graph.num_keys)
        place = torch.arange(turned.col.numel(), device="cpu") if turned.edge_id is None else turned.edge_id
        return Transposition(cut_rows(turned), readable(place, turned.col.dtype))

    return graph.remember_on("edges_cpu transposition", "cpu", build)


def repeats(graph: Graph) -> Tensor | None:
    """int64, number of each entry among equal edges (for dropout); None where no edge repeats."""

    def build(device) -> Tensor:
        edges = sorted_edges(graph, device, with_repeat=True)
        assert edges.repeat is not None
        return readable(edges.repeat, torch.int64)

    return graph.remember_on("edges_cpu repeats", "cpu", build) if graph.has_repeats else None
