"""Grids whose queries share their windows in groups: each group with its keys is a complete graph, for the loops over bands."""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from graphattn.graphs import CompleteGraph, GridGraph
from graphattn.kernels.fused.grid_tiles import GridTiles
from graphattn.kernels.fused.tiled import BYTES_PER_CALL
from graphattn.kernels.kernel import Inputs, Kernel, Partial, Plan, accumulation_dtype
from graphattn.kernels.native.banded_cpu import WIDTH, BandedCpu
from graphattn.kernels.native.border import HALVES
from graphattn.kernels.native.library import why_not_native


class Cells(NamedTuple):
    """Some groups of a grid, one after the other."""

    graph: CompleteGraph  # between the queries of each group and its keys
    query: Tensor  # [num_queries], nodes of the grid
    key: Tensor  # [num_keys], likewise; what several groups see comes for each of them


def cells_of(graph: GridGraph, most_keys: int) -> list[Cells]:
    """All groups of a grid, some with at most so many keys at a time, or one; laid out once."""

    def lay_out() -> list[Cells]:
        with torch.device("cpu"):  # whatever the default device is
            tiles = GridTiles(graph, lengths_of(graph))
            num_keys = (tiles.key >= 0).sum(1)
            part = (num_keys.cumsum(0) - 1).div(most_keys, rounding_mode="floor")
            counts = torch.unique_consecutive(part, return_counts=True)[1].tolist()
            pairs = zip(tiles.query.split(counts), tiles.key.split(counts), strict=True) if counts else ()
            return [cells_of_tiles(query, key) for query, key in pairs]

    return graph.remember(("cells", most_keys), lay_out)


def cells_of_tiles(query: Tensor, key: Tensor) -> Cells:
    """Of nodes [tiles, n], -1 for none."""
    sizes = [(x >= 0).sum(1).tolist() for x in (query, key)]
    return Cells(CompleteGraph(*sizes), query[query >= 0], key[key >= 0])


def lengths_of(graph: GridGraph) -> list[int]:
    """Queries of a group along each axis."""
    longest = [max(sides) for sides in zip(*graph.query_sides)]
    sides = [max(1, -(-side // step)) for side, step in zip(longest, graph.dilation, strict=True)]
    return list(map(min, graph.group, sides))


class GridCpu(Kernel):
    """Nothing is kept for an edge; keys are copied for each group that sees them, some groups at a time."""

    name = "grid_cpu"
    graphs, devices, dtypes = (GridGraph,), ("cpu",), (torch.float32, *HALVES)
    takes_grouped_heads = takes_other_value_dim = finds_nan = True
    least_channels = 1

    def area_of_tiles(self, graph: GridGraph) -> int:
        """Scores per head that it computes, roughly and without laying out its groups."""
        lengths, area = lengths_of(graph), 0
        lanes = -(-prod(lengths) // WIDTH) * WIDTH
        spans = [window.span(length) for window, length in zip(graph.windows, lengths, strict=True)]
        for query_sides, key_sides in zip(graph.query_sides, graph.key_sides, strict=True):
            groups = prod(-(-side // length) for side, length in zip(query_sides, lengths, strict=True))
            area += groups * lanes * prod(map(min, spans, key_sides))
        return area

    def num_calls(self, graph: GridGraph) -> int:
        """Calls that a small graph needs beyond those of 'edges_cpu'."""
        return 1

    def why_not_here(self, plan, inputs):
        axes = list(zip(plan.graph.group, plan.graph.is_causal, strict=True))
        if all(group == 1 for group, _ in axes):
            return "'grid_cpu' runs grids whose queries share windows (got group=1)"
        if any(group > 1 and is_causal for group, is_causal in axes):
            return (
                f"'grid_cpu' needs queries that share all their keys, not those before them alone (got {plan.graph!r})"
            )
        return why_not_native()

    def spreads_nan(self, plan):
        return True

    def forward(self, plan, inputs):
        num_queries, heads, _ = inputs.query.shape
        of_results = inputs.query.dtype if plan.is_final else torch.float32
        out = inputs.query.new_zeros(num_queries, heads, inputs.value.size(2), dtype=of_results)
        lse = inputs.query.new_full((num_queries, heads), -torch.inf, dtype=torch.float32)
        for cells, part_plan, taken in parts_of(plan, inputs):
            part = BandedCpu().forward(part_plan, taken)
            out[cells.query], lse[cells.query] = part.out, part.lse
        return Partial(out, lse)

    def backward(self, plan, inputs, merged, grad):
        query = torch.zeros_like(inputs.query)
        key, value = (x.new_zeros(x.shape, dtype=accumulation_dtype(x.dtype)) for x in inputs[1:3])
        of_keys = plan.needed is None or plan.needed.key or plan.needed.value
        for cells, part_plan, taken in parts_of(plan, inputs):
            results = (whole.each(lambda x, nodes=cells.query: x[nodes]) for whole in (merged, grad))
            found = BandedCpu().backward(part_plan, taken, *results)
            query[cells.query] = found.query.to(query.dtype)
            for total, part in ((key, found.key), (value, found.value)) if of_keys else ():
                total.index_add_(0, cells.key, part.to(total.dtype))
        return Inputs(query, key, value)


def parts_of(plan: Plan, inputs: Inputs) -> Iterator[tuple[Cells, Plan, Inputs]]:
    """Some groups at a time, as what the loops over bands take."""
    numbers = sum(x.size(1) * x.size(2) for x in inputs[1:3]) * inputs.key.element_size()
    most_keys = max(1, torch.get_num_threads() * BYTES_PER_CALL // max(1, numbers))
    assert isinstance(plan.graph, GridGraph)  # a fact of the kernel
    for cells in cells_of(plan.graph, 2 ** (most_keys.bit_length() - 1)):
        taken = inputs._replace(
            query=inputs.query[cells.query], key=inputs.key[cells.key], value=inputs.value[cells.key]
        )
        yield cells, plan._replace(graph=cells.graph, memory=None), taken
