"""All pairs by masks over torch's fused attention on CPU: given edges that are many, complete graphs with a bias by offset."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.formulas.offsets import longest
from graphattn.graphs import CompleteGraph, EdgeListGraph, Graph
from graphattn.kernels.fused.diagonals import by_diagonal, sum_diagonals
from graphattn.kernels.fused.sdpa import equal_sizes, from_batch, has_all_queries, take, to_batch, write
from graphattn.kernels.fused.tiled import Call, Mask, Tiled, mask_of, wanted_bias
from graphattn.kernels.kernel import Inputs, accumulation_dtype, sum_to_groups

LEAST_QUERIES = 32  # that the operators are made for: fewer take them as long
AREA_OF_A_MASK = 2**22  # numbers in one mask, which is extra memory: 16 MiB in float32


class Block(NamedTuple):
    """As many queries of each of some examples of one size, and all keys of these examples."""

    examples: int
    queries: slice | Tensor
    keys: slice | Tensor


def blocks_of(graph: EdgeListGraph) -> list[tuple[Block, Tensor]]:
    """All pairs inside the examples, and whether they are edges: bool [examples, queries of each, keys of each].

    Laid out once; a bool for each pair is kept.
    """
    return graph.remember("blocks", lambda: list(lay_out(graph)))


def lay_out(graph: EdgeListGraph) -> Iterator[tuple[Block, Tensor]]:
    first, allowed = masks_of(graph)
    for queries, keys, _ in blocks(graph, AREA_OF_A_MASK):
        mask = allowed[first[queries][..., None] + torch.arange(keys.size(1))]
        yield Block(len(queries), as_slice(queries.flatten()), as_slice(keys.flatten())), mask


def complete_blocks(graph: CompleteGraph, area: int) -> Iterator[tuple[Block, slice, int]]:
    """All pairs inside the examples, at most so many at a time, as `CompleteCall` takes them: (block, places, num_keys)."""
    for queries, keys, start in blocks(graph, area):
        num_queries, num_keys = queries.size(1), keys.size(1)
        first = longest(graph)[0] - start - num_queries  # place of the offset from the last query to key 0
        block = Block(len(queries), queries.flip(1).flatten(), as_slice(keys.flatten()))
        yield block, slice(first, first + num_queries + num_keys - 1), num_keys


def blocks(graph: Graph, area: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Queries and keys [examples, of each] of so many pairs at most, and the place of the first query in its example."""
    for examples, queries, keys in equal_sizes(graph):
        queries, keys = (torch.arange(at.start, at.stop) if isinstance(at, slice) else at for at in (queries, keys))
        queries, keys = queries.view(examples, -1), keys.view(examples, -1)
        at_once = max(area // (queries.size(1) * keys.size(1)), 1)
        for some in range(0, examples, at_once):
            of_each = max(area // keys.size(1), 1)
            for number, chosen in enumerate(queries[some : some + at_once].split(of_each, 1)):
                yield chosen, keys[some : some + at_once], number * of_each


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

    def __init__(self, block: Block, mask: Mask, inputs: Inputs):
        self.block = block
        super().__init__(inputs, mask)

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


class CompleteCall(DenseCall):
    """A block of a complete graph, the queries of each example in reverse: its bias has one number on each diagonal.

    Args:
        places: In the table of offsets, of the numbers on the diagonals.
        num_keys: Of each example.
    """

    def __init__(self, block: Block, places: slice, num_keys: int, inputs: Inputs):
        assert inputs.bias_by_offset is not None
        self.places = places
        # The operator copies a mask whose keys are not side by side.
        table = inputs.bias_by_offset[places].to(accumulation_dtype(inputs.query.dtype)).T.contiguous()
        added = by_diagonal(table, num_keys)[None]
        hides = bool((table == -torch.inf).any())
        super().__init__(block, Mask(added, added.amax(-1) == -torch.inf if hides else None), inputs)

    def add_of_bias(self, total, grad_scores):
        grad_scores = grad_scores.sum(0) if self.block.examples > 1 else grad_scores[0]
        total[self.places] += sum_diagonals(grad_scores).T


class Dense(Tiled):
    """Every query against all keys of its example."""

    name = "dense"
    graphs = (EdgeListGraph, CompleteGraph)

    def why_not_here(self, plan, inputs):
        if isinstance(plan.graph, CompleteGraph):
            has_bias = inputs.bias_by_offset is not None
            return None if has_bias else "'dense' runs complete graphs with a bias by offset only (got none)"
        return "'dense' counts an edge once (got repeated edges)" if plan.graph.has_repeats else None

    def area_of_tiles(self, graph):
        return sum(max(queries, LEAST_QUERIES) * keys for queries, keys in graph.sizes)

    def num_calls(self, graph):
        return len(set(graph.sizes))

    def has_all_queries(self, graph):
        return has_all_queries(graph)

    def calls(self, plan, inputs, is_backward):
        graph = plan.graph
        if isinstance(graph, EdgeListGraph):
            for block, allowed in blocks_of(graph):
                yield DenseCall(block, mask_of(allowed[:, None], inputs), inputs)
        else:
            # Masks are views and take no memory, but the gradients of their scores do.
            takes_memory = is_backward and wanted_bias(plan, inputs) is not None
            area = AREA_OF_A_MASK // inputs.query.size(1) if takes_memory else graph.num_edges
            for block, places, num_keys in complete_blocks(graph, area):
                yield CompleteCall(block, places, num_keys, inputs)
