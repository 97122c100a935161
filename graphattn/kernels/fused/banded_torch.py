"""Bands (windows along the order of the nodes) as tiles over torch's fused attention on CPU, in every floating dtype."""

from graphattn.graphs import BandedGraph
from graphattn.kernels.fused.tiled import Call, Mask, Tiled, mask_of, tiles_per_call
from graphattn.kernels.fused.tiles import Run, Tiles, add_up, area_of_tiles, tiles_of
from graphattn.kernels.kernel import Inputs, sum_to_groups


class BandCall(Call):
    """Neighbouring tiles of a band."""

    def __init__(self, tiles: Tiles, run: Run, mask: Mask, inputs: Inputs):
        self.tiles, self.run = tiles, run
        super().__init__(inputs, mask)

    def queries(self, rows):
        rows = self.tiles.queries.take(rows, self.run.first_query, self.run.last_query)
        return rows.unflatten(0, (self.run.num_tiles, -1)).transpose(1, 2)

    def put(self, rows, values):
        values = values.transpose(1, 2).flatten(0, 1)
        self.tiles.queries.put(rows, self.run.first_query, self.run.last_query, values)

    def keys(self, rows):
        return self.tiles.keys.take(rows, self.run.first_key, self.run.last_key)

    def split(self, rows):
        return self.tiles.split_keys(rows, self.run)

    def add(self, rows, values):
        values = sum_to_groups(add_up(values, self.tiles.block), rows.size(1))
        self.tiles.keys.add(rows, self.run.first_key, self.run.last_key, values)


class BandedTorch(Tiled):
    """Blocks of queries against all keys of their windows; neighbouring blocks in one call."""

    name, family = "banded_torch", "banded"
    graphs = (BandedGraph,)

    def area_of_tiles(self, graph):
        return area_of_tiles(graph)

    def has_all_queries(self, graph):
        return tiles_of(graph).num_queries == graph.num_queries

    def calls(self, plan, inputs, is_backward):
        tiles = tiles_of(plan.graph, is_backward)
        # Keys are views forward, queries and results are not always; backward every tile has gradients of its own.
        nodes = 2 * (tiles.block + tiles.width) if is_backward else 4 * tiles.block
        inside, border = tiles_per_call(plan, inputs, nodes, tiles.band.numel(), is_backward)
        shared = None
        for run in tiles.runs(inside, border):
            mask = shared if run.is_inside else None
            if mask is None:
                allowed = tiles.band[None, None] if run.is_inside else tiles.mask(run)
                mask = mask_of(allowed, inputs, None if inputs.bias_by_offset is None else tiles.places(run))
                shared = mask if run.is_inside else shared
            yield BandCall(tiles, run, mask, inputs)
