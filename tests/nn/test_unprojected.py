"""Sources that are not projected give what projected ones give."""

import pytest
import torch
import torch_geometric.nn
from torch.nn.utils import parametrizations

from graphattn import EdgeListGraph, attend
from graphattn.nn import TransformerConv, unprojected

SOURCES, TARGETS = 60, 5


def block(seed=0):
    """A sampled block: 5 targets with 8 sources each but the last, which has none; an edge is there twice."""
    torch.manual_seed(seed)
    source = torch.randint(SOURCES, (32,))
    target = torch.arange(4).repeat_interleave(8)
    source[1] = source[0]
    return torch.stack([source, target])


def step(layer, x, edges, edge_attr=None):
    leaves = [x.clone().requires_grad_(), x[:TARGETS].clone().requires_grad_()]
    out = layer((leaves[0], leaves[1]), edges, edge_attr)
    torch.manual_seed(5)
    wanted = [*leaves, *layer.parameters()]
    return out, *torch.autograd.grad(out, wanted, torch.randn_like(out), allow_unused=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"heads": 4},
        {"heads": 2, "concat": False},
        {"heads": 2, "beta": True},
        {"heads": 2, "bias": False},
        {"heads": 2, "root_weight": False},
        {"heads": 2, "edge_dim": 3},
        {"heads": 2, "dropout": 0.5},
    ],
    ids=str,
)
def test_the_same_as_projected_and_as_pyg(options, monkeypatch):
    layer = TransformerConv(16, 8, **options).double()
    edge_attr = torch.randn(32, 3).double() if "edge_dim" in options else None
    if "dropout" in options:
        layer.eval()
    x, edges, asked = torch.randn(SOURCES, 16).double(), block(), []
    is_cheaper = unprojected.is_cheaper

    def watch(*given):
        asked.append(is_cheaper(*given))
        return asked[-1]

    monkeypatch.setattr("graphattn.nn.transformer_conv.is_cheaper", watch)
    found = step(layer, x, edges, edge_attr)
    assert asked == [True]
    monkeypatch.setattr("graphattn.nn.transformer_conv.is_cheaper", lambda *_: False)
    wanted = step(layer, x, edges, edge_attr)
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)
    pyg = torch_geometric.nn.TransformerConv(16, 8, **options).double()
    pyg.load_state_dict(layer.state_dict())
    torch.testing.assert_close(
        found[0], pyg.train(layer.training)((x, x[:TARGETS]), edges, edge_attr), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("bias_dtype", [torch.float32, torch.float64])
def test_a_bias_of_values_reaches_the_targets_with_edges(bias_dtype):
    """Whether or not all have some, and whether anybody differentiates."""
    layer, x = TransformerConv(16, 8, 2), torch.randn(SOURCES, 16)
    layer.lin_value.bias = torch.nn.Parameter(torch.randn(16, dtype=bias_dtype))
    query, (sources, targets) = torch.randn(TARGETS, 2, 8), block()
    for edges, seen in ((block(), 4), (torch.stack([sources, targets % 4 + (sources % 2)]), 5)):
        graph = EdgeListGraph(edges, TARGETS, SOURCES)
        key, value = layer.lin_key(x), torch.nn.functional.linear(x, layer.lin_value.weight) + layer.lin_value.bias
        wanted = attend(query, key.unflatten(1, (2, 8)), value.float().unflatten(1, (2, 8)), graph)
        for mode in (torch.no_grad, torch.enable_grad, torch.inference_mode):
            with mode():
                out, _ = unprojected.attend_unprojected(query, x, graph, layer.lin_key, layer.lin_value)
            assert out.dtype == bias_dtype and unprojected.all_have_edges(graph) == (seen == 5)
            torch.testing.assert_close(out.float(), wanted, rtol=1e-5, atol=1e-5)
    assert unprojected.all_have_edges(EdgeListGraph(torch.zeros(2, 0, dtype=torch.int64), 0, 3))


def cheaper(layer, dtype=torch.float32):
    layer = layer.to(dtype)
    source = torch.randn(SOURCES, 16, dtype=dtype)
    graph = EdgeListGraph(block(), TARGETS, SOURCES)
    return unprojected.is_cheaper((TARGETS, 2, 8), source, graph, (layer.lin_key, layer.lin_value))


def test_maps_that_are_more_than_a_product_are_called():
    layer = TransformerConv(16, 8, 2)
    assert cheaper(layer)
    handle = layer.lin_key.register_forward_hook(lambda *_: None)
    assert not cheaper(layer)
    handle.remove()
    assert cheaper(layer)
    assert not cheaper(layer, torch.bfloat16)
    parametrizations.weight_norm(layer.lin_value)
    assert not cheaper(layer.float())
    other = TransformerConv(16, 8, 2)
    other.lin_key = torch.nn.Sequential(other.lin_key)
    assert not cheaper(other)
    own = TransformerConv(16, 8, 2)
    own.lin_value.forward = lambda x: x.new_zeros(len(x), 16)
    assert not cheaper(own)


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
@pytest.mark.parametrize("name", ["lin_key", "lin_value"])
def test_a_bias_of_one_number_for_all_channels(name, shape):
    layer = TransformerConv(16, 4, 2)
    getattr(layer, name).bias = torch.nn.Parameter(torch.ones(shape))
    peer = torch_geometric.nn.TransformerConv(16, 4, 2)
    getattr(peer, name).bias = torch.nn.Parameter(torch.ones(shape))
    peer.load_state_dict(layer.state_dict())
    x = torch.randn(SOURCES, 16)
    found, wanted = (conv((x, x[:TARGETS]), block()) for conv in (layer, peer))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_under_autocast_and_with_sparse_sources_they_are_projected():
    layer, x, edges = TransformerConv(16, 8, 2), torch.randn(SOURCES, 16), block()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer((x, x[:TARGETS]), edges)
    assert out.dtype == torch.bfloat16
    wanted = layer((x, x[:TARGETS]), edges)
    torch.testing.assert_close(out.float(), wanted, rtol=0.05, atol=0.05)
    torch.testing.assert_close(layer((x.to_sparse_coo(), x[:TARGETS]), edges), wanted)


def test_as_many_targets_as_sources_are_projected():
    layer = TransformerConv(16, 8, 2)
    source = torch.randn(SOURCES, 16)
    graph = EdgeListGraph(torch.randint(SOURCES, (2, 100)), SOURCES)
    assert not unprojected.is_cheaper((SOURCES, 2, 8), source, graph, (layer.lin_key, layer.lin_value))


def test_dropout_and_weights_asked_for_project(monkeypatch):
    monkeypatch.setattr("graphattn.nn.transformer_conv.attend_unprojected", None)  # not to be called
    x, edges = torch.randn(SOURCES, 16), block()
    TransformerConv(16, 8, 2, dropout=0.5)((x, x[:TARGETS]), edges)
    _, (_, alpha) = TransformerConv(16, 8, 2)((x, x[:TARGETS]), edges, return_attention_weights=True)
    assert alpha.shape == (32, 2)


def test_sources_that_nobody_sees_may_hold_anything():
    layer, x, edges = TransformerConv(16, 8, 2), torch.randn(SOURCES, 16), block()
    unseen = next(node for node in range(TARGETS, SOURCES) if node not in edges[0])
    wanted = layer((x, x[:TARGETS]), edges)
    x[unseen] = torch.nan
    torch.testing.assert_close(layer((x, x[:TARGETS]), edges), wanted)


def test_no_parameter_is_left_without_a_gradient():
    """DistributedDataParallel waits for all of them."""
    layer, x = TransformerConv(16, 8, 2), torch.randn(SOURCES, 16)
    layer((x, x[:TARGETS]), block()).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert not layer.lin_key.bias.grad.any()
