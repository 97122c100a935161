"""Edge features by products of nodes or of edges: the same numbers."""

import importlib

import pytest
import torch
import torch_geometric.nn

from graphattn import CompleteGraph
from graphattn.nn import GATv2Conv, GraphAttention, TransformerConv
from graphattn.nn.edge_terms import is_cheaper_by_edges

NUM_NODES, EDGE_DIM = 9, 5
HOMES = {GraphAttention: "attention_messages", TransformerConv: "transformer_conv", GATv2Conv: "gatv2_conv"}
LAYERS = {
    "dot": lambda: GraphAttention(6, 8, 4, edge_dim=EDGE_DIM),
    "kv_heads": lambda: GraphAttention(6, 8, 4, kv_heads=2, edge_dim=EDGE_DIM),
    "cosine": lambda: GraphAttention(6, 8, 4, edge_dim=EDGE_DIM, score="cosine"),
    "gaussian": lambda: GraphAttention(6, 8, 4, edge_dim=EDGE_DIM, score="gaussian"),
    "update_edges": lambda: GraphAttention(6, 8, 4, edge_dim=EDGE_DIM, update_edges=True),
    "relu": lambda: GraphAttention(6, 8, 4, edge_dim=EDGE_DIM, normalizer="relu"),
    "TransformerConv": lambda: TransformerConv(6, 8, 4, edge_dim=EDGE_DIM),
    "beta": lambda: TransformerConv(6, 8, 4, edge_dim=EDGE_DIM, beta=True, concat=False),
    "GATv2Conv": lambda: GATv2Conv(6, 8, 4, edge_dim=EDGE_DIM),
    "one map": lambda: GATv2Conv(6, 8, 4, edge_dim=EDGE_DIM, share_weights=True, add_self_loops=False),
    "residual": lambda: GATv2Conv(6, 8, 4, edge_dim=EDGE_DIM, residual=True, concat=False, fill_value=0.5),
    "another slope": lambda: GATv2Conv(6, 8, 4, edge_dim=EDGE_DIM, negative_slope=0.1),
}
# Few edges; one twice; with a self loop; many of one node, and rows that are short and long.
EDGES = {
    "few": [(0, 1), (1, 0), (2, 1), (4, 3), (8, 7)],
    "repeated": [(0, 1), (0, 1), (1, 0), (3, 2)],
    "loop": [(0, 0), (0, 1), (1, 2), (5, 5)],
    "star": [(i % NUM_NODES, 0) for i in range(13)] + [(0, i) for i in range(1, 5)],
    "none": [],
}


def edge_index_of(name):
    return torch.tensor(EDGES[name], dtype=torch.long).view(-1, 2).t().contiguous()


def choose(monkeypatch, layer, answer):
    home = importlib.import_module(f"graphattn.nn.{HOMES[type(layer)]}")
    monkeypatch.setattr(home, "is_cheaper_by_edges", lambda *_: answer)


def step(layer, edge_index, dropout_seed=3):
    """Results and gradients for random cotangents."""
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, edge_attr = leaf(NUM_NODES, 6), leaf(edge_index.size(1), EDGE_DIM)
    torch.manual_seed(dropout_seed)
    results = layer(x, edge_index, edge_attr)
    results = results if isinstance(results, tuple) else (results,)
    grads = [leaf(*y.shape).detach() for y in results]
    wanted = [x, edge_attr, *layer.parameters()]
    found = torch.autograd.grad(results, wanted, grads, create_graph=True, allow_unused=True, materialize_grads=True)
    total = sum(y.square().sum() for y in found)
    second = torch.autograd.grad(total, [x, edge_attr], materialize_grads=True, allow_unused=True)
    return [*results, *found, *second]


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("name", LAYERS)
def test_the_same_both_ways(name, edges, monkeypatch):
    torch.manual_seed(1)
    layer, edge_index = LAYERS[name]().double(), edge_index_of(edges)
    both = []
    for answer in (True, False):
        choose(monkeypatch, layer, answer)
        both.append(step(layer, edge_index))
    for by_edges, by_nodes in zip(*both):
        torch.testing.assert_close(by_edges, by_nodes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("name", [name for name in LAYERS if type(LAYERS[name]()) is not GraphAttention])
@pytest.mark.parametrize("answer", [True, False])
def test_the_same_as_pygs(name, edges, answer, monkeypatch):
    torch.manual_seed(1)
    layer = LAYERS[name]().double()
    choose(monkeypatch, layer, answer)
    options = {
        k: getattr(layer, k)
        for k in ("beta", "share_weights", "add_self_loops", "fill_value", "negative_slope")
        if hasattr(layer, k)
    }
    options |= {"residual": True} if getattr(layer, "res", None) is not None else {}
    peer = getattr(torch_geometric.nn, type(layer).__name__)
    peer = peer(6, 8, 4, edge_dim=EDGE_DIM, concat=layer.concat, **options).double()
    peer.load_state_dict(layer.state_dict())
    for ours, theirs in zip(step(layer, edge_index_of(edges)), step(peer, edge_index_of(edges))):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["TransformerConv", "GATv2Conv", "dot"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes(name, dtype, monkeypatch):
    torch.manual_seed(1)
    layer, edge_index = LAYERS[name]().to(dtype), edge_index_of("star")
    x, edge_attr = torch.randn(NUM_NODES, 6, dtype=dtype), torch.randn(17, EDGE_DIM, dtype=dtype)
    found = []
    for answer in (True, False):
        choose(monkeypatch, layer, answer)
        found.append(layer(x, edge_index, edge_attr))
        assert found[-1].dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(*found, rtol=tolerance, atol=tolerance)


def test_the_fewer_products():
    many, few = torch.randn(1000, 16), torch.randn(150, 16)
    graph = CompleteGraph(100)  # only its number of queries is asked for
    assert is_cheaper_by_edges(graph, few, 16) and not is_cheaper_by_edges(graph, many, 16)
