"""The edges of a tensor that anybody may write at any time, in memory of a graph's own."""

from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs.graph import untransformed
from graphattn.graphs.recording import may_record
from graphattn.graphs.sizes import Sizes, totals
from graphattn.graphs.snapshots import MANY, in_short, plain, snapshot
from graphattn.graphs.sorting import loops_for


class Copied(NamedTuple):
    """The numbers of an edge_index, each read once: what is said of them is true of the copy."""

    edges: Tensor  # int64 or int32 [2, num_edges]
    numbers: Tensor  # the same as the tensor holds them, or shorter where it holds int64: for `shows`
    is_sorted: bool | None = None  # by (query, key), where all are in range; None: nobody has looked


def copied(edge_index: Tensor, sizes: Sizes) -> Copied:
    """A copy of integers [2, num_edges], looked through on the way for a graph of these sizes where loops in C can read them."""
    return untransformed(lambda: _copied_by_loops(plain(edge_index), sizes) or _copied_by_torch(edge_index))


def _copied_by_loops(x: Tensor, sizes: Sizes) -> Copied | None:
    """None where they cannot, or where a number is out of range."""
    loops = loops_for(x)
    if loops is None or may_record() or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return None
    is_short = x.dtype == torch.int32 or x.numel() >= MANY
    found = loops.copy_pairs(x, *totals(sizes), torch.int32 if is_short else torch.int64)
    return None if found is None else Copied(found[0], found[0], found[1])


def _copied_by_torch(x: Tensor) -> Copied:
    numbers = snapshot(x)
    edges = held(numbers)
    return Copied(edges, edges if numbers.dtype in (torch.int64, edges.dtype) else numbers)


def held(numbers: Tensor) -> Tensor:
    """Numbers of nodes in memory of a graph's own, as the graph holds them: half as wide where loops in C read them so."""
    return in_short(numbers if numbers.dtype in (torch.int64, torch.int32) else numbers.int())
