import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph, causal
from graphattn.nn import AttentionReadout, ClassNode, EncoderLayer, MeanReadout
from graphattn.testing.loops import loop_attention


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_mean_of_each_example():
    x = random(7, 3)
    out = MeanReadout()(x, causal([2, 0, 5]))
    torch.testing.assert_close(out, torch.stack([x[:2].mean(0), torch.zeros(3).double(), x[2:].mean(0)]))


def test_learned_queries_read_their_own_example():
    torch.manual_seed(0)
    readout, x, counts = AttentionReadout(8, heads=2, num_queries=3).double(), random(7, 8), [2, 0, 5]
    out = readout(x, CompleteGraph(counts))
    attention = readout.attention
    query = attention.lin_query(readout.query.repeat(3, 1)).view(9, 2, 4)
    key, value = (linear(x).view(7, 2, 4) for linear in (attention.lin_key, attention.lin_value))
    starts = [0, 2, 2]
    edges = [(starts[i // 3] + j, i) for i in range(9) for j in range(counts[i // 3])]
    with torch.no_grad():
        wanted = attention.lin_out(loop_attention(query, key, value, edges)[0].flatten(1))
        torch.testing.assert_close(out, wanted)


GRAPHS = [
    CompleteGraph([2, 3]),
    causal([2, 3]),
    BandedGraph([2, 3], 1, 0, dilation=2),
    GridGraph([(1, 2), (3, 1)], 1),
    EdgeListGraph(torch.tensor([[1, 0, 4, 4, 2], [0, 0, 2, 2, 3]]), [2, 3]),
]


@pytest.mark.parametrize("graph", GRAPHS, ids=repr)
def test_class_nodes_are_joined_to_all_and_the_rest_stays(graph):
    x = random(5, 4)
    node = ClassNode(4).double()
    larger_x, larger = node(x, graph)
    old = [0, 1, 3, 4, 5]
    mask = torch.zeros(7, 7, dtype=torch.bool)
    for i, query in enumerate(old):
        for j, key in enumerate(old):
            mask[query, key] = graph.mask()[i, j]
    mask[2, :3] = mask[:3, 2] = mask[6, 3:] = mask[3:, 6] = True
    assert torch.equal(larger.mask(), mask)
    assert torch.equal(larger_x[old], x)
    assert torch.equal(node.read(larger_x, larger), node.features.expand(2, 4))
    if isinstance(larger, EdgeListGraph):
        moved = torch.tensor(old)[graph.edge_index()]
        assert torch.equal(larger.edge_index()[:, : graph.num_edges], moved)


def test_class_nodes_learn_from_their_example_alone():
    torch.manual_seed(0)
    node, layer = ClassNode(8).double(), EncoderLayer(8, 2).double()
    x = random(5, 8)

    def read(x, graph):
        x, graph = node(x, graph)
        return node.read(layer(x, graph), graph)

    parts = [read(x[:2], BandedGraph(2, 0, 0)), read(x[2:], BandedGraph(3, 0, 0))]
    torch.testing.assert_close(read(x, BandedGraph([2, 3], 0, 0)), torch.cat(parts))
    (grad,) = torch.autograd.grad(read(x, CompleteGraph([2, 3])).sum(), node.features)
    assert grad.abs().max() > 0


def test_class_nodes_need_one_set_of_nodes():
    with pytest.raises(ValueError, match="over one set of nodes"):
        ClassNode(4)(torch.randn(5, 4), CompleteGraph([2, 3], [3, 2]))
