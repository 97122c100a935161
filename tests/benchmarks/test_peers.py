"""PyG's layers with weights put in from outside are PyG's layers."""

import torch
from torch_geometric.nn import GATv2Conv, TransformerConv

from benchmarks import peers
from benchmarks.graphs import random_graph


def test_transformer_conv_is_pyg_after_the_projections():
    graph = random_graph(20, 60)
    conv = TransformerConv(5, 4, heads=3, edge_dim=2, root_weight=False)
    x, features = torch.randn(20, 5), torch.randn(60, 2)
    nodes = (linear(x).view(20, 3, 4) for linear in (conv.lin_query, conv.lin_key, conv.lin_value))
    out = peers.transformer_conv(graph, 3, 4, 2)(*nodes, features, conv.lin_edge.weight.detach())
    torch.testing.assert_close(out.flatten(1), conv(x, graph.edge_index(), features))


def test_gatv2_conv_is_pyg_after_the_projections():
    graph = random_graph(20, 60)
    conv = GATv2Conv(5, 4, heads=3, edge_dim=2, add_self_loops=False, bias=False)
    x, features = torch.randn(20, 5), torch.randn(60, 2)
    target, source = conv.lin_r(x).view(20, 3, 4), conv.lin_l(x).view(20, 3, 4)
    call = peers.gatv2_conv(graph, 3, 4, 2)
    out = call(target, source, conv.att.detach(), features, conv.lin_edge.weight.detach())
    torch.testing.assert_close(out.flatten(1), conv(x, graph.edge_index(), features))


def test_a_compiler_that_fails_gives_its_reason(monkeypatch):
    def fail(graph):
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(peers, "flex_of_band", fail)
    assert peers.why_not_flex() == "no C++ compiler"
