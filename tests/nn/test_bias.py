import math

import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GridGraph,
    PerHead,
    attend,
    attention_weights,
    batch_graphs,
    causal,
)
from graphattn.nn import ALiBi, GraphAttention, GraphTransformer, RelativeBias, RotaryPositions, T5Bias
from graphattn.nn.bias import alibi_slopes, bias_of_layer
from graphattn.nn.positions.coordinates import positions_of
from graphattn.testing.loops import loop_attention

BIASES = {"alibi": lambda: ALiBi(4), "relative": lambda: RelativeBias(4, 2), "t5": lambda: T5Bias(4, 8, 6)}
every_bias = pytest.mark.parametrize("make", BIASES.values(), ids=BIASES)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_alibi_equals_the_formula():
    graph = BandedGraph(7, 3, 2)
    bias = ALiBi(4)(graph)
    for number, (key, query) in enumerate(graph.edge_index().t().tolist()):
        for head in range(4):
            assert bias[number, head].item() == pytest.approx(-abs(key - query) * 2 ** (-2 * (head + 1)))


def test_alibi_slopes_of_the_paper():
    assert ALiBi(8).slopes.tolist() == [1 / 2**h for h in range(1, 9)]
    twelve = ALiBi(12).slopes.tolist()
    assert twelve[:8] == [1 / 2**h for h in range(1, 9)]
    assert twelve[8:] == pytest.approx([2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])


def test_alibi_measures_distances_in_space():
    pos = random(5, 3)
    graph = CompleteGraph(5)
    bias = ALiBi(2).double()(graph, pos)
    for number, (key, query) in enumerate(graph.edge_index().t().tolist()):
        assert bias[number, 0].item() == pytest.approx(-math.dist(pos[key].tolist(), pos[query].tolist()) / 16)


def test_alibi_keeps_far_distances_apart_in_half_precision():
    layer = GraphAttention(8, 4, heads=8, edge_bias=ALiBi(8)).bfloat16()
    graph = BandedGraph(1, None, None, num_keys=400)
    assert torch.equal(layer.edge_bias(graph), ALiBi(8)(graph))
    assert layer((torch.randn(400, 8).bfloat16(), torch.randn(1, 8).bfloat16()), graph).dtype is torch.bfloat16


def test_relative_bias_has_one_number_per_offset():
    bias, graph = RelativeBias(3, (1, 2)), GridGraph((3, 4), (2, 3))
    found, table = bias(graph), bias.table.view(3, 5, 3)
    for number, (key, query) in enumerate(graph.edge_index().t().tolist()):
        rows = max(-1, min(key // 4 - query // 4, 1)) + 1
        columns = max(-2, min(key % 4 - query % 4, 2)) + 2
        assert torch.equal(found[number], table[rows, columns])


@pytest.mark.parametrize("bidirectional", [True, False])
def test_t5_buckets_by_whole_numbers(bidirectional):
    # 32 buckets up to 128: far bucket exact + b starts at exact * 16^(b / 8) (two ways) or 16 * 8^(b / 16) (one way).
    bias = T5Bias(2, 32, 128, bidirectional)
    exact, base, steps = (8, 16, 8) if bidirectional else (16, 8, 16)
    for offset in range(-300, 300):
        distance = abs(offset) if bidirectional else max(0, -offset)
        wanted = distance
        if distance >= exact:
            wanted = exact + max(b for b in range(steps) if distance**steps >= exact**steps * base**b)
        if bidirectional and offset > 0:
            wanted += 16
        assert bias.bucket(torch.tensor(offset)).item() == wanted, offset


def test_t5_reads_its_table():
    bias = T5Bias(3)
    graph = causal([4, 30])
    key, query = graph.edge_index()
    assert torch.equal(bias(graph), bias.table[bias.bucket(key - query)])


@every_bias
def test_only_differences_of_positions_matter(make):
    bias, graph = make(), EdgeListGraph(torch.randint(9, (2, 30)), 9)
    pos = torch.randint(50, (9,))
    assert torch.equal(bias(graph, pos), bias(graph, pos + 17))
    assert not torch.equal(bias(graph, pos), bias(graph, pos.flip(0)))


@every_bias
def test_a_path_graph_equals_the_sequence(make):
    bias, order = make(), torch.randperm(8)
    graph = EdgeListGraph(order[BandedGraph(8, 3, 2).edge_index()], 8)
    pos = torch.empty_like(order).index_copy(0, order, torch.arange(8))
    assert torch.equal(bias.at(pos)(graph), bias(BandedGraph(8, 3, 2)))


@every_bias
def test_examples_count_for_themselves(make):
    bias = make()
    assert torch.equal(bias(causal([3, 5])), torch.cat([bias(causal(3)), bias(causal(5))]))


@every_bias
@pytest.mark.parametrize("graph", [CompleteGraph([3, 4]), GridGraph((7,), 2), causal(7)], ids=repr)
def test_attend_takes_the_rule(make, graph):
    torch.manual_seed(0)
    bias = make().double()
    query, key, value = (random(7, 4, 3) for _ in range(3))
    edges = graph.edge_index().t().tolist()
    with torch.no_grad():
        wanted, _, weights, _ = loop_attention(query, key, value, edges, bias=bias(graph))
        torch.testing.assert_close(attend(query, key, value, graph, bias=bias), wanted)
        torch.testing.assert_close(attention_weights(query, key, graph, bias=bias), weights)


@every_bias
@pytest.mark.parametrize(
    ["graph", "kernel"],
    [
        (BandedGraph([50, 3, 20], 4, 2), "banded"),
        (BandedGraph(40, 3, 1, dilation=3, num_keys=50, offset=5), "banded"),
        (GridGraph((60,), 2, 1, border="shift"), "grid"),
        (GridGraph((20,), 2, 1, stride=2), "grid"),
    ],
    ids=repr,
)
def test_tiles_take_the_rule(make, graph, kernel):
    torch.manual_seed(0)
    bias = make().double()
    query, key, value = (random(count, 4, 3) for count in (graph.num_queries, graph.num_keys, graph.num_keys))
    edges = graph.edge_index().t().tolist()
    with torch.no_grad():
        wanted, _, _, _ = loop_attention(query, key, value, edges, bias=bias(graph))
        torch.testing.assert_close(attend(query, key, value, graph, bias=bias, kernel=kernel), wanted)


@every_bias
@pytest.mark.parametrize("seen", ["all", "window", "no query"])
def test_queries_beside_a_cache_start_at_the_offset(make, seen):
    """The last nodes of two examples, whose other keys lie in a cache, as in one pass over everything."""
    torch.manual_seed(0)
    bias, counts, new = make().double(), [12, 9], [3, 1]
    old = [count - last for count, last in zip(counts, new)]
    full = [BandedGraph(count, 4 if seen == "window" else None, 0) for count in counts]
    query, key, value = (random(21, 4, 3) for _ in range(3))
    is_new = torch.cat([torch.arange(count) >= first for count, first in zip(counts, old)])
    if seen == "no query":  # the cache alone, so that the window is cut off in front of the query
        edges = [graph.edge_index()[:, graph.edge_index()[0] < first] for graph, first in zip(full, old)]
        full = [EdgeListGraph(pair, count) for pair, count in zip(edges, counts)]
        graph, is_key = BandedGraph(new, None, 0, num_keys=old, offset=old), ~is_new
    else:
        graph, is_key = BandedGraph(new, 4 if seen == "window" else None, 0, num_keys=counts, offset=old), is_new | True
    wanted = attend(query, key, value, batch_graphs(full), bias=bias)[is_new]
    for kernel in (None, "edges_cpu", "reference"):
        out = attend(query[is_new], key[is_key], value[is_key], graph, bias=bias, kernel=kernel)
        torch.testing.assert_close(out, wanted)
    # As a table.
    one = attend(query[9:12], key[:12][is_key[:12]], value[:12][is_key[:12]], graph.examples()[0], bias=bias)
    torch.testing.assert_close(one, wanted[:3])
    union = graph.examples()[0] | EdgeListGraph(torch.tensor([[0], [0]]), *graph.examples()[0].shape)
    assert torch.equal(bias(union)[:1], bias.rule(torch.tensor([[old[0]]]), torch.tensor([[0]])))
    (keys, queries), (key_pos, query_pos) = graph.edge_index(), positions_of(graph)
    assert torch.equal(bias(graph.T), bias.rule(key_pos[keys], query_pos[queries]))


@every_bias
def test_heads_with_graphs_of_their_own_start_at_one_offset(make):
    torch.manual_seed(0)
    x, last = random(9, 8), BandedGraph(1, None, 0, num_keys=9, offset=8)
    layer = GraphAttention((8, 8), 5, heads=4, edge_bias=make(), positions=RotaryPositions()).double()
    wanted = layer((x, x), causal(9))[-1:]
    torch.testing.assert_close(layer((x, x[-1:]), last), wanted)
    for graphs in ([last] * 4, [CompleteGraph(1, 9), last, last, last]):
        torch.testing.assert_close(layer((x, x[-1:]), PerHead(graphs)), wanted)


@every_bias
def test_coordinates_of_few_bits(make):
    bias, graph, pos = make(), CompleteGraph(9), torch.tensor([0, 3, 5, 17, 100, 101, 128, 200, 254])
    torch.testing.assert_close(bias(graph, pos.to(torch.uint8)), bias(graph, pos), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bias", [ALiBi(4), RelativeBias(4, 9000), T5Bias(4, 512, 9000)], ids=repr)
def test_differences_of_coordinates_are_not_rounded(bias, dtype):
    graph, pos = CompleteGraph(6), torch.tensor([0, 3, 7, 100, 1016, 8192])  # all of them numbers of half precision
    torch.testing.assert_close(bias(graph, pos.to(dtype)), bias(graph, pos), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_slopes_are_never_rounded(dtype):
    wanted = alibi_slopes(12)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        made = ALiBi(12)
    finally:
        torch.set_default_dtype(default)
    for bias in (made, ALiBi(12).to(dtype), ALiBi(12).to(dtype).float()):
        assert torch.equal(bias.slopes, torch.tensor(wanted, dtype=torch.float32))
    assert ALiBi(12).double().slopes.tolist() == wanted


def test_a_grid_that_all_see_keeps_its_coordinates():
    torch.manual_seed(0)
    bias, graph = RelativeBias(2, 3, axes=2).double(), GridGraph((3, 4), 3)
    query, key, value = (random(12, 2, 3) for _ in range(3))
    out = attend(query, key, value, graph, bias=bias)
    torch.testing.assert_close(out, attend(query, key, value, CompleteGraph(12), bias=bias(graph)))


def test_parameters_of_the_rule_learn():
    torch.manual_seed(0)
    bias = RelativeBias(2, 2).double()
    query, key, value = (random(5, 2, 3) for _ in range(3))

    def result(table):
        rule = lambda graph: torch.func.functional_call(bias, {"table": table}, graph)  # noqa: E731
        return attend(query, key, value, causal(5), bias=rule)

    assert torch.autograd.gradcheck(result, (bias.table.detach().requires_grad_(),))


def test_the_layer_adds_its_own_and_a_given_bias():
    torch.manual_seed(0)
    graph, x = causal([3, 4]), random(7, 8)
    layer = GraphAttention(8, 5, heads=4, edge_bias=RelativeBias(4, 2)).double()
    given = random(graph.num_edges, 4)
    plain = GraphAttention(8, 5, heads=4).double()
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if not k.startswith("edge_bias")})
    both = layer.edge_bias(graph) + given
    torch.testing.assert_close(layer(x, graph, edge_bias=given), plain(x, graph, edge_bias=lambda graph: both))
    out, (_, weights) = layer(x, graph, edge_bias=given, return_attention_weights=True)
    _, (_, wanted) = plain(x, graph, edge_bias=both, return_attention_weights=True)
    torch.testing.assert_close(weights, wanted)
    layer.register_message_forward_hook(lambda *args: None)
    torch.testing.assert_close(layer(x, graph, edge_bias=given), out)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="'heads' must be at least 1 .got 0"):
        ALiBi(0)
    with pytest.raises(ValueError, match="positions must have 1 axes .got 2"):
        RelativeBias(2, 3)(GridGraph((2, 2), 1))
    with pytest.raises(ValueError, match="positions must have 1 axis .got 2"):
        T5Bias(2)(GridGraph((2, 2), 1))
    with pytest.raises(ValueError, match="above 8 .got 32 and 8"):
        T5Bias(2, max_distance=8)


@every_bias
def test_layers_leave_the_rule_to_the_kernel(make):
    torch.manual_seed(0)
    graph, x = BandedGraph([150, 3, 40], 20, 9), random(193, 8)
    layer = GraphAttention(8, 5, heads=4, edge_bias=make()).double()
    stack = GraphTransformer(8, 2, heads=4, edge_bias=make()).double()
    for module, own in ((layer, layer.edge_bias), (stack, stack.edge_bias)):
        assert bias_of_layer(own, None, graph) is own
        ids = torch.cat([torch.arange(size) for size, _ in graph.sizes])  # positions are given: a number for each edge
        assert bias_of_layer(own, None, graph, ids).shape == (graph.num_edges, 4)
        torch.testing.assert_close(module(x, graph), module(x, graph, pos=ids))
    out, (_, weights) = layer(x, graph, return_attention_weights=True)
    layer.register_message_forward_hook(lambda *args: None)
    torch.testing.assert_close(layer(x, graph), out)
    _, (_, wanted) = layer(x, graph, return_attention_weights=True, pos=ids)
    torch.testing.assert_close(weights, wanted)


def test_two_biases_are_added_up_for_each_edge():
    graph = BandedGraph(50, 4, 4)
    assert bias_of_layer(ALiBi(4), T5Bias(4), graph).shape == (graph.num_edges, 4)
    assert bias_of_layer(None, None, graph) is None


@pytest.mark.parametrize("make", [lambda: ALiBi(4), lambda: T5Bias(4), lambda: RelativeBias(4, 3)])
def test_a_list_of_graphs_is_their_batch(make):
    bias, graphs = make(), [CompleteGraph(2), causal(3)]
    assert torch.equal(bias(graphs), torch.cat([bias(graph) for graph in graphs]))
    assert torch.equal(bias.at(torch.arange(5))(graphs), bias(graphs, torch.arange(5)))
    mask = torch.ones(3, 3).tril().bool()
    assert torch.equal(bias(mask), bias(causal(3)))


def test_what_is_no_graph_has_no_bias():
    with pytest.raises(TypeError, match="no graph can be made of NoneType"):
        ALiBi(4)(None)
    with pytest.raises(ValueError, match="does not tell how many nodes there are"):
        ALiBi(4)(torch.tensor([[0], [1]]))
    with pytest.raises(TypeError, match="one graph for all heads is needed here"):
        ALiBi(2)(PerHead([causal(3), CompleteGraph(3)]))
