"""Given edges that are many of all pairs, by masks over torch's fused attention on CPU."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import EdgeListGraph
from graphattn.kernels.kernel import Inputs, sum_to_groups
from graphattn.kernels.sdpa import equal_sizes, from_batch, has_all_queries, take, to_batch, write
from graphattn.kernels.tiled import Call, Tiled, mask_of

LEAST_QUERIES = 32  # that the operators are made for: fewer take them as long
AREA_OF_A_MASK = 2**22  # pairs in one call, whose mask in float32 is extra memory: 16 MiB


class Block(NamedTuple):
    """As many queries of each of some examples of one size, and all keys of these examples."""

    examples: int
    queries: slice | Tensor
    keys: slice | Tensor
    mask: Tensor  # bool [examples, queries of each, keys of each]


def blocks_of(graph: EdgeListGraph) -> list[Block]:
    """All pairs inside the examples, laid out once; a bool for each of them is kept."""
    return graph.remember("blocks", lambda: list(lay_out(graph)))


def lay_out(graph: EdgeListGraph) -> Iterator[Block]:
    first, allowed = masks_of(graph)
    for examples, queries, keys in equal_sizes(graph):
        queries, keys = (torch.arange(at.start, at.stop) if isinstance(at, slice) else at for at in (queries, keys))
        queries, keys = queries.view(examples, -1), keys.view(examples, -1)
        at_once = max(AREA_OF_A_MASK // (queries.size(1) * keys.size(1)), 1)
        for some in range(0, examples, at_once):
            of_each = max(AREA_OF_A_MASK // keys.size(1), 1)
            for chosen in queries[some : some + at_once].split(of_each, 1):
                mask = allowed[first[chosen][..., None] + torch.arange(keys.size(1))]
                yield Block(
                    len(chosen), as_slice(chosen.flatten()), as_slice(keys[some : some + at_once].flatten()), mask
                )


def masks_of(graph: EdgeListGraph) -> tuple[Tensor, Tensor]:
    """Where the keys of each query begin in a list of all pairs inside the examples, and which pairs are edges."""
    num_queries, num_keys = torch.tensor(graph.sizes, dtype=torch.long).view(-1, 2).unbind(1)
    area = num_queries * num_keys
    first_query, first_key = (torch.tensor(ptr[:-1], dtype=torch.long) for ptr in (graph.query_ptr, graph.key_ptr))
    example = graph.batch("cpu")
    place = torch.arange(graph.num_queries) - first_query[example]
    first = (area.cumsum(0) - area)[example] + place * num_keys[example]
    key, query = graph.edge_index("cpu")
    allowed = torch.zeros(int(area.sum()), dtype=torch.bool)
    allowed[first[query] + key - first_key[example[query]]] = True
    return first, allowed


def as_slice(rows: Tensor) -> slice | Tensor:
    """Ascending rows, as a slice (no copy of what lies there) where they lie side by side."""
    start, stop = int(rows[0]), int(rows[-1]) + 1
    return slice(start, stop) if stop - start == rows.numel() else rows


class DenseCall(Call):
    """The queries of a block against its keys."""

    def __init__(self, block: Block, inputs: Inputs):
        self.block = block
        super().__init__(inputs, mask_of(block.mask[:, None], inputs))

    def queries(self, rows):
        return to_batch(rows, self.block.queries, self.block.examples)

    def put(self, rows, values):
        write(rows, self.block.queries, from_batch(values))

    def keys(self, rows):
        return take(rows, self.block.keys)

    def split(self, rows):
        return rows.unflatten(0, (self.block.examples, -1)).transpose(1, 2)

    def add(self, rows, values):
        values = sum_to_groups(from_batch(values), rows.size(1))
        if isinstance(self.block.keys, slice):
            take(rows, self.block.keys).add_(values)
        else:
            rows.index_add_(0, self.block.keys, values)


class Dense(Tiled):
    """Every query against all keys of its example."""

    name = "dense"
    graph_kind = EdgeListGraph

    def why_not(self, plan, inputs):
        reason = super().why_not(plan, inputs)
        if reason is None and plan.graph.has_repeats:
            return "'dense' counts an edge once (got repeated edges)"
        return reason

    def area_of_tiles(self, graph):
        return sum(max(queries, LEAST_QUERIES) * keys for queries, keys in graph.sizes)

    def num_calls(self, graph):
        return len(set(graph.sizes))

    def has_all_queries(self, graph):
        return has_all_queries(graph)

    def calls(self, plan, inputs, is_backward):
        for block in blocks_of(plan.graph):
            yield DenseCall(block, inputs)
