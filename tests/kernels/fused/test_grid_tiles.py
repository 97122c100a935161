"""The tiles of grids hold every edge once."""

import pytest
import torch

from graphattn import GridGraph
from graphattn.kernels.fused.grid_tiles import GridTiles, area_of_grid_tiles, block_of, in_blocks, lay_out_axis, product
from graphattn.testing.cases import grid_edges
from tests.kernels.fused.test_grid import GRAPHS


@pytest.mark.parametrize("name", GRAPHS)
def test_every_query_is_in_one_tile_and_every_edge_in_its(name):
    graph = GRAPHS[name]
    tiles = GridTiles(graph)
    everyone = torch.cat([tiles.inside, tiles.border])
    assert everyone.sort().values.equal(torch.arange(len(tiles.query)))
    query, key = tiles.query[:, None, :, None], tiles.key[:, None, None, :]
    assert tiles.query[tiles.query >= 0].sort().values.unique().numel() == (tiles.query >= 0).sum()
    wanted = graph.allows(query.clamp(min=0), key.clamp(min=0)) & (query >= 0) & (key >= 0)
    assert tiles.mask(torch.arange(len(tiles.query))).equal(wanted)
    assert wanted.sum() == graph.num_edges
    assert (wanted[tiles.inside] == wanted[tiles.inside[:1]]).all()
    everyone = torch.cat([tiles.inside_with_offsets, tiles.border_with_offsets])
    assert everyone.sort().values.equal(torch.arange(len(tiles.query)))
    places = tiles.places(tiles.inside_with_offsets)
    assert (
        places[:, wanted[tiles.inside_with_offsets[0], 0]] == places[:1, wanted[tiles.inside_with_offsets[0], 0]]
    ).all()


def test_most_tiles_of_a_large_image_are_alike():
    tiles = GridTiles(GridGraph((128, 128), 3))
    assert tiles.inside.numel() > 0.7 * len(tiles.query)


@pytest.mark.parametrize(
    "graph",
    [
        GridGraph((9, 7), (2, 1), (1, 3)),
        GridGraph((9, 7), 2, dilation=(2, 3)),
        GridGraph((5, 4, 3), 1),
        GridGraph((5, 4), 2, dilation=(1, 2), stride=(2, 1), key_sides=(11, 6)),
    ],
    ids=str,
)
def test_edges_by_plain_loops(graph):
    tiles = GridTiles(graph)
    allowed = tiles.mask(torch.arange(len(tiles.query)))
    tile, _, query, key = allowed.nonzero(as_tuple=True)
    found = zip(tiles.key[tile, key].tolist(), tiles.query[tile, query].tolist())
    sides = graph.query_sides[0], graph.key_sides[0]
    wanted = grid_edges(*sides, graph.before, graph.after, graph.dilation, graph.stride)
    assert sorted(found) == sorted(wanted)


def test_one_axis():
    graph = GridGraph((7,), 1, 2)
    axis = lay_out_axis(graph, 0, 7, 7, 4)
    assert axis.query.tolist() == [[0, 1, 2, 3], [4, 5, 6, -1]]
    assert axis.key.tolist() == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, -1, -1]]
    for query, key, mask, step in zip(*(x.tolist() for x in axis)):
        seen = [
            (k - q + 1, s) for q, row in zip(query, step) for k, s in zip(key, row) if q >= 0 and 0 <= k - q + 1 <= 3
        ]
        assert all(wanted == found for wanted, found in seen) and seen
        assert mask == [[q >= 0 and k >= 0 and -1 <= k - q <= 2 for k in key] for q in query]


def test_blocks_and_products():
    assert in_blocks(torch.arange(5), 3).tolist() == [[0, 1, 2], [3, 4, -1]]
    rows, columns = torch.tensor([[0, 1]]), torch.tensor([[0, 1], [2, -1]])
    assert product([rows, columns], (2, 3)).tolist() == [[0, 1, 3, 4], [2, -1, 5, -1]]


def test_blocks_are_no_longer_than_the_axis():
    assert block_of(GridGraph((40, 2), 3)) == [8, 2]
    assert block_of(GridGraph((90, 90), (9, 40))) == [8, 16]
    assert block_of(GridGraph((12, 12), 1, dilation=(6, 1))) == [2, 8]
    assert block_of(GridGraph((5, 5, 1, 3), 1)) == [4, 4, 1, 3]
    assert block_of(GridGraph((5, 5, 2, 3), 1)) == [2, 2, 2, 2]


def test_area_is_about_what_tiles_compute():
    graph = GridGraph((128, 128), 3)
    tiles = GridTiles(graph)
    computed = tiles.query.numel() * tiles.key.size(1)
    assert abs(area_of_grid_tiles(graph) - computed) < 0.1 * computed
