"""Grids (windows on images and volumes) as tiles over torch's fused attention on CPU."""

from torch import Tensor

from graphattn.graphs import GridGraph
from graphattn.kernels.fused.grid_tiles import GridTiles, area_of_grid_tiles, grid_tiles_of
from graphattn.kernels.fused.tiled import Call, Mask, Tiled, mask_of, tiles_per_call
from graphattn.kernels.kernel import Inputs, sum_to_groups


class GridCall(Call):
    """Some tiles of a grid, their nodes gathered."""

    def __init__(self, tiles: GridTiles, chosen: Tensor, mask: Mask, inputs: Inputs):
        self.query_nodes, self.key_nodes = tiles.query[chosen], tiles.key[chosen]
        super().__init__(inputs, mask)

    def queries(self, rows):
        return self.split(gather(rows, self.query_nodes))

    def put(self, rows, values):
        nodes, values = existing(self.query_nodes, values)
        rows[nodes] = values.to(rows.dtype)

    def keys(self, rows):
        return gather(rows, self.key_nodes)

    def split(self, rows):
        return rows.unflatten(0, (self.query_nodes.size(0), -1)).transpose(1, 2)

    def add(self, rows, values):
        nodes, values = existing(self.key_nodes, values)
        rows.index_add_(0, nodes, sum_to_groups(values, rows.size(1)))


def gather(rows: Tensor, nodes: Tensor) -> Tensor:
    """The rows of nodes [tiles, n], one tile after the other; row 0, which masks hide, where there is none."""
    return rows.index_select(0, nodes.clamp(min=0).flatten())


def existing(nodes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes [tiles, n] that are there, and their rows of [tiles, heads, n, ...]."""
    nodes, values = nodes.flatten(), values.transpose(1, 2).flatten(0, 1)
    is_there = nodes >= 0
    return (nodes, values) if is_there.all() else (nodes[is_there], values[is_there])


class Grid(Tiled):
    """Blocks of queries against the boxes of keys around them."""

    name = "grid"
    graphs = (GridGraph,)

    def area_of_tiles(self, graph):
        return area_of_grid_tiles(graph)

    def has_all_queries(self, graph):
        return grid_tiles_of(graph).num_queries == graph.num_queries

    def calls(self, plan, inputs, is_backward):
        tiles = grid_tiles_of(plan.graph)
        block, width = tiles.query.size(1), tiles.key.size(1)
        inside, border = tiles_per_call(plan, inputs, 2 * (block + width), block * width, is_backward)

        def mask(chosen):
            return mask_of(tiles.mask(chosen), inputs, None if inputs.bias_by_offset is None else tiles.places(chosen))

        by_offset = inputs.bias_by_offset is not None
        alike, others = (
            (tiles.inside_with_offsets, tiles.border_with_offsets) if by_offset else (tiles.inside, tiles.border)
        )
        if alike.numel():
            shared = mask(alike[:1])
            for chosen in alike.split(inside):
                yield GridCall(tiles, chosen, shared, inputs)
        if others.numel():
            for chosen in others.split(border):
                yield GridCall(tiles, chosen, mask(chosen), inputs)
