"""Rows joined are the whole: edges, results, gradients and weights, with biases by rule and dropout, wherever a graph is cut."""

from itertools import pairwise

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, GlobalGraph, GridGraph, attend, attention_weights, causal
from graphattn.graphs import BlockGraph, LocalGraph
from graphattn.nn import ALiBi, GraphAttention, RelativeBias, RotaryPositions, T5Bias
from graphattn.nn.positions.coordinates import positions_of
from graphattn.testing.cases import GRAPHS

HEADS = 4


def cuts_of(graph):
    size = graph.num_queries
    slab = size // graph.query_sides[0][0] if isinstance(graph, GridGraph) and size else 1
    return [[0, size], [0, size // 2, size], [0, size // 3, size // 3, 2 * size // 3, size],
            [0, *range(slab, size, slab), size]]  # fmt: skip


@pytest.mark.parametrize("name, graph, edges", GRAPHS, ids=[case[0] for case in GRAPHS])
def test_edges_of_rows_are_those_of_the_loops(name, graph, edges):
    for cuts in cuts_of(graph):
        for start, stop in pairwise(cuts):
            local, keys, places = graph.rows(start, stop)
            keys = torch.arange(graph.num_keys)[keys].tolist()
            key, query = local.edge_index().tolist()
            found = [(keys[k], q + start) for k, q in zip(key, query)]
            assert found == [edge for edge in edges if start <= edge[1] < stop]
            assert found == [edges[place] for place in torch.arange(len(edges))[places].tolist()]
            assert local.shape == (stop - start, len(keys)) and local.num_examples == graph.num_examples
            assert torch.equal(local.batch(), graph.batch()[start:stop])
            mask = torch.zeros(local.shape, dtype=torch.bool)
            mask[query, key] = True
            assert torch.equal(local.mask(), mask)
            assert torch.equal(local.T.edge_index(), local.edge_index().flip(0))


def tensors(graph):
    generator = torch.Generator().manual_seed(3)
    shapes = (graph.num_queries, HEADS, 5), (graph.num_keys, 2, 5), (graph.num_keys, 2, 6)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("name, graph, edges", GRAPHS, ids=[case[0] for case in GRAPHS])
def test_rows_joined_are_the_whole(name, graph, edges):
    query, key, value = tensors(graph)
    features = torch.randn(len(edges), 3, dtype=torch.float64).requires_grad_()
    cotangent = torch.randn(graph.num_queries, HEADS, 6, dtype=torch.float64)
    options = {"dropout": 0.3, "bias": ALiBi(HEADS).double()}

    def run(start, stop, graph, keys, places):
        torch.manual_seed(1)  # the seed of the call
        out, edge_out = attend(
            query[start:stop], key[keys], value[keys], graph, edge_features=features[places], **options
        )
        return out, edge_out

    def gradients(results):
        out, edge_out = (torch.cat(found) for found in zip(*results))
        found = torch.autograd.grad((out * cotangent).sum() + edge_out.square().sum(), (query, key, value, features))
        return out, edge_out, *found

    whole = slice(None)
    wanted = gradients([run(0, graph.num_queries, graph, whole, whole)])
    for cuts in cuts_of(graph):
        if len(cuts) > 1:
            found = gradients([run(a, b, *graph.rows(a, b)) for a, b in pairwise(cuts)])
            for one, other in zip(found, wanted):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name, graph, edges", GRAPHS, ids=[case[0] for case in GRAPHS])
def test_positions_of_rows_are_those_of_the_whole(name, graph, edges):
    key_pos, query_pos = positions_of(graph)
    for start, stop in pairwise(cuts_of(graph)[2]):
        local, keys, places = graph.rows(start, stop)
        own_keys, own_queries = positions_of(local)
        assert torch.equal(own_keys, key_pos[keys]) and torch.equal(own_queries, query_pos[start:stop])
        query, key, _ = (x.detach() for x in tensors(graph))
        axes = key_pos.size(1)
        biases = [RelativeBias(HEADS, 2, axes)] + [T5Bias(HEADS)] * (axes == 1)
        for bias in biases:
            weights = attention_weights(query, key, graph, bias=bias.double())[places]
            own = attention_weights(query[start:stop], key[keys], local, bias=bias)
            torch.testing.assert_close(own, weights, rtol=1e-12, atol=1e-12)


def test_a_rule_of_offsets_stays_a_table_on_rows_of_a_band():
    graph = causal(400)
    local, keys, _ = graph.rows(100, 300)
    x = torch.randn(400, 2, 8)
    whole = attend(x, x, x, graph, bias=ALiBi(2))
    found = attend(x[100:300], x[keys], x[keys], local, bias=ALiBi(2))
    torch.testing.assert_close(found, whole[100:300])
    assert local.starts == ((100, 0),)


def test_rotary_layers_turn_rows_as_in_the_whole():
    layer = GraphAttention(8, 4, heads=2, positions=RotaryPositions(), edge_bias=ALiBi(2)).double()
    x = torch.randn(40, 8, dtype=torch.float64)
    for graph in (BandedGraph(40, 3, 2, dilation=2), GridGraph((8, 5), 1, dilation=(2, 1)), CompleteGraph([18, 22])):
        local, keys, _ = graph.rows(15, 30)
        torch.testing.assert_close(layer((x[keys], x[15:30]), local), layer(x, graph)[15:30])


def test_rows_of_rows_keep_the_numbers_of_the_whole():
    graph = BandedGraph(50, 4, 1)
    outer, outer_keys, _ = graph.rows(10, 40)
    inner, keys, _ = outer.rows(5, 20)
    assert torch.arange(50)[outer_keys][keys].tolist() == list(range(11, 31))
    assert inner.query_numbers == 15 and inner.key_numbers == 11
    assert torch.equal(positions_of(inner)[1].flatten(), torch.arange(15, 30))


def test_formulas_stay_formulas():
    huge = 10**9
    for graph in (CompleteGraph(huge), causal(huge), BandedGraph(huge, 3, 1, dilation=5)):
        assert not isinstance(graph.rows(huge // 3, huge // 2).edges, torch.Tensor)
    local, keys, _ = GridGraph((8, 6), 1, border="shift").rows(12, 30)
    assert isinstance(local.graph, BlockGraph) and keys == slice(6, 36)
    assert isinstance(GridGraph((8, 6), 1).rows(12, 30).graph.graph, GridGraph)


def test_rows_survive_files_and_moves(tmp_path):
    for graph in (
        BandedGraph(9, 2, 1),
        GridGraph((6, 3), 1, border="shift"),
        GlobalGraph(6, [5]),
        BandedGraph(6, 2, 0) | GlobalGraph(6, [5]),
    ):
        local = graph.rows(3, 6).graph
        torch.save(local, tmp_path / "graph")
        read = torch.load(tmp_path / "graph", weights_only=True)
        assert isinstance(read, LocalGraph) and torch.equal(read.edge_index(), local.edge_index())
        assert torch.equal(positions_of(read)[0], positions_of(local)[0])
        assert local.to("meta").shape == local.shape


@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch", "reference", "edges_cuda"])
@pytest.mark.parametrize("graph", [BandedGraph(30, 3, 2), BandedGraph(30, 3, 2) | GlobalGraph(30, [4, 17])])
def test_kernels_drop_edges_by_their_numbers_in_the_whole_or_refuse(kernel, graph):
    query, key, value = (x.detach() for x in tensors(graph))
    local, keys, _ = graph.rows(11, 25)
    torch.manual_seed(2)
    whole = attend(query, key, value, graph, dropout=0.5)
    torch.manual_seed(2)
    given = query[11:25], key[keys], value[keys], local
    if kernel == "edges_cuda":
        with pytest.raises(ValueError, match="draws dropout by the numbers of its own rows"):
            attend(*given, dropout=0.5, kernel=kernel)
    else:
        torch.testing.assert_close(attend(*given, dropout=0.5, kernel=kernel), whole[11:25])


def test_a_range_outside_is_refused():
    with pytest.raises(ValueError, match="a range of 5 nodes is 0 <= start <= stop <= 5 \\(got 3 and 6\\)"):
        causal(5).rows(3, 6)
