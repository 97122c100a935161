import numpy as np
import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, attend, attention_weights, weighted_sum
from graphattn.nn import (
    Additive,
    EncoderLayer,
    GATConv,
    GATv2Conv,
    GPSConv,
    GraphAttention,
    LearnedPositions,
    LinearAttention,
    TopK,
    TransformerConv,
)
from graphattn.running.arguments import normal_form

GRAPH = EdgeListGraph(torch.tensor([[0, 5, 2, 2], [1, 0, 3, 1]]), 4, 6)  # query 2 is empty


def qkv(num_queries=4, num_keys=6, heads=2, dim=3, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(n, heads, dim, dtype=dtype) for n in (num_queries, num_keys, num_keys)]


def test_the_normal_form_is_one_object():
    graph = BandedGraph(5, 9, 9)
    assert normal_form(graph) == CompleteGraph(5)
    assert normal_form(graph) is normal_form(graph)
    assert normal_form(GRAPH) is GRAPH


Q, K, V = qkv()
BAD = {
    "list": (TypeError, "'query' must be a torch.Tensor .got list", lambda: attend([1.0], K, V, GRAPH)),
    "rank": (
        ValueError,
        r"'query' must be \[num_nodes, heads, dim\].*got \[4, 2\]",
        lambda: attend(Q[:, :, 0], K, V, GRAPH),
    ),
    "dtype": (TypeError, "share one floating dtype .got 'value' torch.float32", lambda: attend(Q, K, V.float(), GRAPH)),
    "integers": (TypeError, "floating dtype", lambda: attend(Q.long(), K.long(), V.long(), GRAPH)),
    "nodes": (
        ValueError,
        r"share nodes and heads .got \[6, 2, 3\] and \[5, 2, 3\]",
        lambda: attend(Q, K, V[:5], GRAPH),
    ),
    "dim": (
        ValueError,
        r"share batch and dim .got \[4, 2, 2\] and \[6, 2, 3\]",
        lambda: attend(Q[..., :2], K, V, GRAPH),
    ),
    "heads": (ValueError, "multiple of heads of 'key' .got 1 and 2", lambda: attend(Q[:, :1], K, V, GRAPH)),
    "graph size": (ValueError, "5", lambda: attend(Q, K, V, CompleteGraph(5, 6))),
    "no graph": (TypeError, "str", lambda: attend(Q, K, V, "complete")),
    "index": (ValueError, "9", lambda: attend(Q, K, V, torch.tensor([[9], [0]]))),
    "negative index": (ValueError, "-1", lambda: attend(Q, K, V, torch.tensor([[-1], [0]]))),
    "bias": (ValueError, r"\[4, 2\].*got \[3, 1\]", lambda: attend(Q, K, V, GRAPH, bias=torch.zeros(3))),
    "bias type": (
        TypeError,
        "'bias' must be a floating tensor",
        lambda: attend(Q, K, V, GRAPH, bias=torch.ones(4).long()),
    ),
    "edge_features": (
        ValueError,
        r"4 edges.*got \[3, 2\]",
        lambda: attend(Q, K, V, GRAPH, edge_features=torch.ones(3, 2)),
    ),
    "edge_query": (ValueError, "needs 'edge_features'", lambda: attend(Q, K, V, GRAPH, edge_query=torch.ones(4, 2, 2))),
    "edge_query shape": (
        ValueError,
        r"\[4, 2, 5\] .got \[4, 2, 2\]",
        lambda: attend(Q, K, V, GRAPH, edge_features=torch.ones(4, 5), edge_query=torch.ones(4, 2, 2)),
    ),
    "dropout": (ValueError, "probability in 0 .. 1 .got 1.5", lambda: attend(Q, K, V, GRAPH, dropout=1.5)),
    "dropout nan": (ValueError, "got nan", lambda: attend(Q, K, V, GRAPH, dropout=float("nan"))),
    "scale": (ValueError, "finite number .got inf", lambda: attend(Q, K, V, GRAPH, scale=float("inf"))),
    "score": (
        ValueError,
        "'score' must be one of .*, a Score such as",
        lambda: attend(Q, K, V, GRAPH, score="additive"),
    ),
    "vector": (
        ValueError,
        r"\[heads, dim\] = \[2, 3\] .got \[3\]",
        lambda: attend(Q, K, V, GRAPH, score=Additive(torch.ones(3))),
    ),
    "normalizer": (ValueError, "must be one of .*got 'max'", lambda: attend(Q, K, V, GRAPH, normalizer="max")),
    "kernel": (ValueError, "must be one of .*got 'fast'", lambda: attend(Q, K, V, GRAPH, kernel="fast")),
    "kernel refuses": (ValueError, "'sdpa' runs complete and causal", lambda: attend(Q, K, V, GRAPH, kernel="sdpa")),
    "weights": (ValueError, "attention_weights", lambda: attention_weights(Q[None], K[None], GRAPH)),
    "device": (ValueError, "on meta", lambda: attend(Q, K.to("meta"), V.to("meta"), GRAPH)),
    "graph device": (ValueError, "'graph' is on meta", lambda: attend(Q, K, V, GRAPH.to("meta"))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    error, words, call = BAD[case]
    with pytest.raises(error, match=words):
        call()


def test_numbers_of_numpy_are_numbers():
    i, half = np.int64, np.float32(0.5)
    layer = GraphAttention(
        i(8), i(4), heads=i(2), kv_heads=i(1), edge_dim=i(3), dropout=half, scale=half, normalizer=TopK(i(2))
    )
    out = layer(torch.randn(5, 8), CompleteGraph(i(5)), torch.randn(25, 3))
    assert out.shape == (5, 8) and layer.dropout == 0.5
    assert EncoderLayer(i(8), i(2), dropout=half)(torch.randn(5, 8), CompleteGraph(5)).shape == (5, 8)
    assert LearnedPositions(i(5), i(8))(torch.arange(5)).shape == (5, 8)


class OverEdges(torch.nn.Module):
    """What torch.jit.trace takes: tensors go in, one of them says which edges there are."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, edges):
        return self.layer(x, edges)


class OverBatch(torch.nn.Module):
    def __init__(self, attn_type):
        super().__init__()
        self.layer = GPSConv(4, None, heads=2, attn_type=attn_type)

    def forward(self, x, edges):
        return self.layer(x, None, batch=edges[0].sort().values)


class Sums(torch.nn.Module):
    def forward(self, x, edges):
        return weighted_sum(x.new_ones(4, 1), x[:, None], edges)


TRACED = {
    "GATConv": lambda: GATConv(4, 3),
    "GATv2Conv": lambda: GATv2Conv(4, 3),
    "TransformerConv": lambda: TransformerConv(4, 3),
    "GraphAttention": lambda: GraphAttention(4, 3),
    "LinearAttention": lambda: LinearAttention(4, 3),
    "multihead": lambda: OverBatch("multihead"),
    "performer": lambda: OverBatch("performer"),
    "weighted_sum": Sums,
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", TRACED)
def test_jit_trace_would_keep_the_edges_of_its_example(name):
    inputs = torch.randn(4, 4), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    with pytest.raises(RuntimeError, match=r"torch.jit.trace .*restore\(model\)"):
        torch.jit.trace(OverEdges(TRACED[name]()).eval(), inputs, check_trace=False)
