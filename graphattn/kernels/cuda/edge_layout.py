"""How the rows of a CSR are handed to the programs of `edges_cuda`: heavy rows in pieces, rows of like length together."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import Graph

HEAVY = 2**11  # edges of a piece: below it a row is one program's
BUCKETS = (4, 16, 64, 256, 1024)  # edges; longer rows are started first, so that none is left over at the end


class Pieces(NamedTuple):
    """The work, in the order in which it is started.

    A result of a piece goes to its slot: the row itself where the row is whole, behind all rows where it was cut.
    """

    table: Tensor  # int64 [num_pieces, 4]: first and last entry (not included), row, slot
    cut_rows: Tensor  # int64 [num_cut, 3]: row, and its first and last slot (not included)
    num_rows: int
    num_slots: int


def cut(rowptr: Tensor) -> Pieces:
    """Pieces of at most HEAVY entries of the rows of a CSR, every row at least one.

    >>> cut(torch.tensor([0, 3, 3, 8])).table.tolist()
    [[3, 8, 2, 2], [0, 3, 0, 0], [3, 3, 1, 1]]
    """
    rowptr = rowptr.long()
    num_rows = rowptr.numel() - 1
    counts = (-(-rowptr.diff() // HEAVY)).clamp(min=1)
    row = torch.repeat_interleave(counts)
    number = torch.arange(row.numel(), device=row.device) - (counts.cumsum(0) - counts)[row]
    start = rowptr[row] + number * HEAVY
    end = torch.minimum(start + HEAVY, rowptr[row + 1])
    is_cut = (counts > 1)[row]
    slot = torch.where(is_cut, num_rows + is_cut.cumsum(0) - 1, row)
    bucket = torch.bucketize(end - start, torch.tensor(BUCKETS, device=row.device))
    order = bucket.argsort(descending=True, stable=True)
    cut_rows = (counts > 1).nonzero().flatten()
    last_slot = num_rows + counts[cut_rows].cumsum(0)
    return Pieces(
        torch.stack([start, end, row, slot], 1)[order].contiguous(),
        torch.stack([cut_rows, last_slot - counts[cut_rows], last_slot], 1),
        num_rows,
        num_rows + int(is_cut.sum()),
    )


class Arrangement(NamedTuple):
    """The edges of a graph by query."""

    pieces: Pieces
    col: Tensor
    edge_id: Tensor | None


class Transposition(NamedTuple):
    """The edges of a graph by key."""

    pieces: Pieces
    col: Tensor
    place_of: Tensor  # place among the entries by query of each entry by key


def arrangement(graph: Graph, device: torch.device) -> Arrangement:
    def build(device) -> Arrangement:
        csr = graph.by_query(device)
        return Arrangement(cut(csr.rowptr), csr.col, csr.edge_id)

    return graph.remember_on("edges_cuda arrangement", device, build)


def transposition(graph: Graph, device: torch.device) -> Transposition:
    def build(device) -> Transposition:
        transposed, edge_id = graph.by_key(device), graph.by_query(device).edge_id
        place = transposed.edge_id
        if place is None:
            place = torch.arange(transposed.col.numel(), device=device)
        if edge_id is not None:
            inverse = torch.empty_like(edge_id)
            inverse[edge_id.long()] = torch.arange(edge_id.numel(), dtype=edge_id.dtype, device=device)
            place = inverse[place.long()]
        return Transposition(cut(transposed.rowptr), transposed.col, place.to(transposed.col.dtype))

    return graph.remember_on("edges_cuda transposition", device, build)
