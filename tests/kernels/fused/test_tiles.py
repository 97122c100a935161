"""The tiles of bands hold every edge once, by plain loops over examples, queries and keys."""

from functools import cache

import pytest
import torch

from graphattn import BandedGraph
from graphattn.kernels.fused import tiles as module
from graphattn.kernels.fused.tiles import Tiles, add_up, area_of_tiles, block_size, tiles_of
from tests.kernels.fused.test_banded_torch import GRAPHS


@cache
def edges_by_loops(graph):
    """(key, query) of every edge."""
    edges = []
    for (num_queries, num_keys), offset, first_query, first_key in zip(
        graph.sizes, graph.offsets, graph.query_ptr, graph.key_ptr
    ):
        for query in range(num_queries):
            for step in range(-graph.before, graph.after + 1):
                key = query + offset + graph.dilation * step
                if 0 <= key < num_keys:
                    edges.append((first_key + key, first_query + query))
    return sorted(edges)


@pytest.mark.parametrize("longest", [2, 10_000])
@pytest.mark.parametrize("least_area", [1, 2**18])
@pytest.mark.parametrize("name", GRAPHS)
def test_tiles_hold_every_edge_once(name, least_area, longest, monkeypatch):
    monkeypatch.setattr(module, "LEAST_AREA_INSIDE", least_area)
    graph = GRAPHS[name]
    tiles = Tiles(graph, 32)
    query_numbers, key_numbers = (1 + torch.arange(n)[:, None, None] for n in graph.shape)  # 0 where there is no node
    found = []
    for run in tiles.runs(longest + 1, longest):
        assert 1 <= run.num_tiles <= longest + run.is_inside
        query = tiles.queries.take(query_numbers, run.first_query, run.last_query).view(run.num_tiles, tiles.block, 1)
        keys = tiles.keys.take(key_numbers, run.first_key, run.last_key)
        key = tiles.split_keys(keys, run)[:, 0, :, 0]
        assert not run.is_inside or tiles.mask(run).equal(tiles.band.expand(run.num_tiles, 1, -1, -1))
        allowed = tiles.mask(run)[:, 0] & (query > 0)
        query, key = (x.expand(allowed.shape)[allowed] for x in (query, key[:, None]))
        assert key.min() > 0 if key.numel() else True
        found += list(zip((key - 1).tolist(), (query - 1).tolist()))
    wanted = edges_by_loops(graph)
    assert sorted(found) == wanted
    assert tiles.num_queries >= len({query for _, query in wanted})


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_put_or_added_comes_back(name):
    graph = GRAPHS[name]
    tiles = Tiles(graph, 32)
    for side, num_nodes in ((tiles.queries, graph.num_queries), (tiles.keys, graph.num_keys)):
        last = side.strip.numel()
        nodes, put, added = torch.arange(1.0, num_nodes + 1), torch.zeros(num_nodes), torch.ones(num_nodes)
        taken = side.take(nodes, 0, last)
        side.put(put, 0, last, taken)
        side.add(added, 0, last, taken)
        assert put[put > 0].equal(nodes[put > 0]) and added.equal(1 + put)
        has_node = torch.zeros(last, dtype=torch.bool)
        has_node[: len(side.strip)] = side.strip >= 0
        assert (taken[has_node] > 0).all()


def num_tiles(tiles):
    return sum(run.num_tiles for run in tiles.runs(10_000, 10_000))


def test_area_is_about_what_tiles_compute():
    for graph in (BandedGraph(5000, 30, 7), BandedGraph(4000, 200, 200)):
        tiles = tiles_of(graph)
        computed = num_tiles(tiles) * tiles.band.numel()
        assert abs(area_of_tiles(graph) - computed) < 0.05 * computed


def test_a_graph_keeps_its_tiles():
    graph = BandedGraph(900, 100, 100)
    for is_backward in (False, True):
        tiles = tiles_of(graph, is_backward)
        assert tiles is tiles_of(graph, is_backward)
        assert tiles.block == block_size(200, is_backward)


def test_most_tiles_of_a_long_band_share_their_mask():
    tiles = tiles_of(BandedGraph([8000, 4000], 100, 60))
    inside = [run for run in tiles.runs(10_000, 10_000) if run.is_inside]
    assert len(inside) == 2 and sum(run.num_tiles for run in inside) > 0.95 * num_tiles(tiles)


def test_tiles_without_queries_are_not_computed():
    tiles = tiles_of(BandedGraph([1] * 9, 400, 0, num_keys=[500] * 9, offset=499))
    assert num_tiles(tiles) <= 9


def test_short_examples_share_runs():
    tiles = tiles_of(BandedGraph([4, 1, 3, 2] * 500, 2, 2))
    assert num_tiles(tiles) == -(-5000 // tiles.block)
    assert len(list(tiles.runs(40, 40))) == -(-num_tiles(tiles) // 40)


def test_adding_up_is_the_transpose_of_splitting():
    torch.manual_seed(0)
    rows = torch.randn(3 * 4 + 7, 2, 5)
    tiles = rows.unfold(0, 4 + 7, 4).transpose(-1, -2)  # 3 tiles of 11 keys, 4 apart
    cotangent = torch.randn(tiles.shape)
    torch.testing.assert_close((tiles * cotangent).sum(), (rows * add_up(cotangent, 4)).sum())
