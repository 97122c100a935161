import math

import pytest
import torch
from torch_geometric.nn import TransformerConv

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, causal
from graphattn.nn import Additive, Dot, GraphAttention, Relu, TopK


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def edges(num_sources, num_targets, num_edges):
    return torch.stack([torch.randint(num_sources, (num_edges,)), torch.randint(num_targets, (num_edges,))])


def gradients(out, module, *inputs):
    """Of the inputs, then of the parameters by name."""
    torch.manual_seed(7)
    parameters = [p for name, p in sorted(module.named_parameters()) if not name.startswith("lin_skip")]
    return torch.autograd.grad(out, [*inputs, *parameters], torch.randn_like(out), allow_unused=True)


def load_multihead(layer, peer):
    """Weights of torch.nn.MultiheadAttention into a GraphAttention."""
    with torch.no_grad():
        for linear, weight, bias in zip(
            (layer.lin_query, layer.lin_key, layer.lin_value), peer.in_proj_weight.chunk(3), peer.in_proj_bias.chunk(3)
        ):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        layer.lin_out.weight.copy_(peer.out_proj.weight)
        layer.lin_out.bias.copy_(peer.out_proj.bias)


@pytest.mark.parametrize("is_causal", [False, True])
def test_equals_multihead_attention(is_causal):
    torch.manual_seed(0)
    peer = torch.nn.MultiheadAttention(24, 4, batch_first=True).double()
    torch.nn.init.normal_(peer.in_proj_bias)
    layer = GraphAttention(24, 6, heads=4, project_out=True).double()
    load_multihead(layer, peer)
    x, y = (random(9, 24).requires_grad_() for _ in range(2))
    y.data.copy_(x.data)
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1) if is_causal else None
    wanted, wanted_weights = peer(y[None], y[None], y[None], attn_mask=mask, average_attn_weights=False)
    graph = causal(9) if is_causal else CompleteGraph(9)
    out, (edge_index, weights) = layer(x, graph, return_attention_weights=True)
    torch.testing.assert_close(out, wanted[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights, wanted_weights[0][:, edge_index[1], edge_index[0]].t(), rtol=1e-10, atol=1e-10)
    grad, *by_parameter = gradients(out, layer, x)
    wanted_grad, *wanted_by_parameter = gradients(wanted[0], peer, y)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-10, atol=1e-10)
    named = dict(zip(sorted(dict(layer.named_parameters())), by_parameter))
    in_proj = torch.cat([named[f"lin_{name}.weight"] for name in ("query", "key", "value")])
    wanted_in_proj = dict(zip(sorted(dict(peer.named_parameters())), wanted_by_parameter))["in_proj_weight"]
    torch.testing.assert_close(in_proj, wanted_in_proj, rtol=1e-10, atol=1e-10)


def test_equals_scaled_dot_product_attention():
    from graphattn import attend

    torch.manual_seed(0)
    tensors = [random(11, 3, 8).requires_grad_() for _ in range(3)]
    out = attend(*tensors, CompleteGraph(11))
    wanted = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in tensors))[0]
    wanted = wanted.transpose(0, 1)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    cotangent = torch.randn_like(out)
    for a, b in zip(torch.autograd.grad(out, tensors, cotangent), torch.autograd.grad(wanted, tensors, cotangent)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def load_transformer_conv(layer, peer):
    layer.load_state_dict({k: v for k, v in peer.state_dict().items() if not k.startswith("lin_skip")})


@pytest.mark.parametrize("edge_dim", [None, 5])
@pytest.mark.parametrize("concat", [True, False])
def test_equals_transformer_conv_on_repeated_bipartite_edges(edge_dim, concat):
    torch.manual_seed(0)
    peer = TransformerConv((7, 6), 4, heads=3, concat=concat, edge_dim=edge_dim, root_weight=False).double()
    layer = GraphAttention((7, 6), 4, heads=3, concat=concat, edge_dim=edge_dim).double()
    load_transformer_conv(layer, peer)
    edge_index = edges(10, 8, 30)
    edge_index = torch.cat([edge_index, edge_index[:, :7]], 1)
    x = (random(10, 7).requires_grad_(), random(8, 6).requires_grad_())
    edge_attr = None if edge_dim is None else random(37, edge_dim).requires_grad_()
    wanted, (_, wanted_weights) = peer(x, edge_index, edge_attr, return_attention_weights=True)
    out, (_, weights) = layer(x, edge_index, edge_attr, return_attention_weights=True)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights, wanted_weights, rtol=1e-10, atol=1e-10)
    inputs = x if edge_attr is None else (*x, edge_attr)
    for a, b in zip(gradients(out, layer, *inputs), gradients(wanted, peer, *inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


class ByNetwork(torch.nn.Module):
    """A learned score of two vectors of 5 channels."""

    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(10, 1)

    def forward(self, query, key):
        return self.lin(torch.cat([query, key], -1).tanh()).squeeze(-1)


SETTINGS = {
    "dot": {},
    "edges": {"edge_dim": 3},
    "additive": {"score": "additive"},
    "additive_edges": {"score": "additive", "edge_dim": 3, "scale": 0.5},
    "gatv2": {"score": "gatv2", "edge_dim": 3},
    "relu": {"normalizer": Relu(scale_by_degree=True)},
    "sigmoid": {"normalizer": "sigmoid", "edge_dim": 3},
    "grouped": {"kv_heads": 2},
    "sink": {"sink": True, "edge_dim": 3, "kv_heads": 2},
    "gate": {"gate": True, "concat": False},
    "cosine": {"score": "cosine", "edge_dim": 3, "kv_heads": 2},
    "bilinear": {"score": "bilinear", "edge_dim": 3, "kv_heads": 2, "scale": 0.4},
    "gaussian": {"score": "gaussian", "edge_dim": 3, "kv_heads": 2, "normalizer": "entmax15"},
    "function": {"score": lambda query, key: -(query - key).abs().sum(-1), "normalizer": "sparsemax"},
    "module": {"score": ByNetwork(), "edge_dim": 3},
    "top_k": {"normalizer": TopK(2), "edge_dim": 3},
    "identity": {"normalizer": "identity"},
    "mean": {"concat": False, "project_out": True},
    "shared": {"score": "additive", "share_weights": True},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_messages_equal_kernels(setting):
    """The path that explainers and hooks look into gives the same numbers."""
    torch.manual_seed(0)
    layer = GraphAttention(8, 5, heads=4, **SETTINGS[setting]).double()
    graph = EdgeListGraph(edges(9, 9, 40), 9)
    edge_attr = random(40, 3) if "edge_dim" in SETTINGS[setting] else None
    x = random(9, 8).requires_grad_()
    out = layer(x, graph, edge_attr)
    seen = []
    layer.register_message_forward_hook(lambda module, inputs, output: seen.append(inputs[0]["alpha"]))
    by_messages, (_, weights) = layer(x, graph, edge_attr, return_attention_weights=True)
    torch.testing.assert_close(by_messages, out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen[0], weights, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(out, layer, x), gradients(by_messages, layer, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_repeated_calls_sort_the_edges_once():
    edge_index = edges(50, 50, 200)
    layer = GraphAttention(4, 4)
    layer(torch.randn(50, 4), edge_index)
    from graphattn import as_graph

    graph = as_graph(edge_index, 50)
    assert as_graph(edge_index, 50) is graph
    assert graph.by_query() is graph.by_query()


def test_shared_weights_are_one_map():
    torch.manual_seed(0)
    layer = GraphAttention(4, 3, heads=2, share_weights=True).double()
    apart = GraphAttention(4, 3, heads=2).double()
    apart.load_state_dict(layer.state_dict())
    assert sum(p.numel() for p in layer.parameters()) == 3 * 2 * (4 + 1)
    x, graph = random(6, 4), causal(6)
    torch.testing.assert_close(layer(x, graph), apart(x, graph))
    torch.testing.assert_close(layer((x, x.clone()), graph), apart(x, graph))


def test_gate_is_a_sigmoid_of_the_target_on_each_channel():
    torch.manual_seed(0)
    layer = GraphAttention((4, 5), 3, heads=2, gate=True, project_out=True).double()
    plain = GraphAttention((4, 5), 3, heads=2).double()
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k in plain.state_dict()})
    x, graph = (random(6, 4), random(7, 5)), CompleteGraph(7, 6)
    gated = plain(x, graph) * torch.nn.functional.linear(x[1], layer.lin_gate.weight, layer.lin_gate.bias).sigmoid()
    torch.testing.assert_close(layer(x, graph), layer.lin_out(gated))
    with pytest.raises(ValueError, match="target=None"):
        layer.combine(*layer.project(*x), graph)


def test_a_strong_sink_takes_everything():
    layer = GraphAttention(4, 3, heads=2, sink=True, bias=False)
    x = torch.randn(5, 4)
    assert layer(x, causal(5)).abs().max() > 0
    layer.sink.data[1] = 1e4
    assert layer(x, causal(5))[:, 3:].eq(0).all() and layer(x, causal(5))[:, :3].abs().max() > 0


def test_lazy_channels():
    layer = GraphAttention(-1, 4, heads=2)
    assert layer(torch.randn(5, 3), CompleteGraph(5)).shape == (5, 8)
    assert layer.lin_query.weight.shape == (8, 3)


def test_dropout_acts_in_training_only():
    layer = GraphAttention(4, 4, dropout=0.5)
    x, graph = torch.randn(6, 4), CompleteGraph(6)
    torch.manual_seed(1)
    first = layer(x, graph)
    assert not torch.equal(first, layer(x, graph))
    torch.manual_seed(1)
    assert torch.equal(first, layer(x, graph))
    layer.eval()
    assert torch.equal(layer(x, graph), layer(x, graph))


def test_a_batch_is_its_examples():
    torch.manual_seed(0)
    layer = GraphAttention(4, 4, heads=2)
    x, y = torch.randn(5, 4), torch.randn(9, 4)
    graphs = [causal(5), BandedGraph(9, 2, 1)]
    together = layer(torch.cat([x, y]), graphs)
    alone = torch.cat([layer(x, graphs[0]), layer(y, graphs[1])])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)  # products of other sizes round otherwise


def test_repr():
    assert str(GraphAttention(16, 8, heads=4)) == "GraphAttention(16, 8, heads=4, score='dot')"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GraphAttention(4, 4, heads=3, kv_heads=2), "multiple of 'kv_heads' .got 3 and 2"),
        (lambda: GraphAttention((4, 5), 4, share_weights=True), r"got in_channels=.4, 5., heads=1"),
        (lambda: GraphAttention(4, 0), "'out_channels' must be a positive int .got 0"),
        (lambda: GraphAttention(4, 4, score="cosinus"), "'score' must be one of .* .got 'cosinus'"),
        (
            lambda: GraphAttention(4, 4, score=torch.nn.Bilinear),
            "'score' must be .*'additive'.* a module or a function .got .class",
        ),
        (lambda: GraphAttention(4, 4, sink=True, normalizer="relu"), "'sink' is an option of softmax .*'relu'"),
        (lambda: GraphAttention(4, 4, normalizer="tanh"), "'normalizer' must be one of .*got 'tanh'"),
        (lambda: GraphAttention(4, 4, dropout=1.5), "'dropout' must be a probability .*got 1.5"),
        (
            lambda: GraphAttention(4, 4)(torch.randn(5, 3), CompleteGraph(5)),
            r"'x' must be \[num_nodes, 4\] .got \[5, 3\]",
        ),
        (lambda: GraphAttention(4, 4)(torch.randn(5, 4), CompleteGraph(6)), "6"),
        (lambda: GraphAttention(4, 4)(torch.randn(5, 4), torch.tensor([[5], [0]])), "5"),
        (
            lambda: GraphAttention(4, 4, edge_dim=2)(torch.randn(5, 4), CompleteGraph(5)),
            "'edge_attr' and 'edge_dim' go",
        ),
        (
            lambda: GraphAttention(4, 4, edge_dim=2)(torch.randn(5, 4), CompleteGraph(5), torch.randn(24, 2)),
            r"\[25, 2\].*got \[24, 2\]",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


HIDES = {
    "messages": {},
    "additive messages": {"score": "additive", "edge_dim": 2},
    "function as messages": {"score": lambda query, key: (query - key).abs().sum(-1)},
    "groups": {"kv_heads": 2, "edge_dim": 2},
    "talking heads": {"talking_heads": True, "edge_dim": 2},
    "talking messages": {"talking_heads": True, "edge_dim": 2},
    "new edge features": {"update_edges": True, "edge_dim": 2},
    "decomposed": {},
}


@pytest.mark.parametrize("number", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("by_head", [False, True])
@pytest.mark.parametrize("way", HIDES)
def test_what_a_bias_hides_does_not_show(way, by_head, number):
    torch.manual_seed(0)
    layer, graph = GraphAttention(5, 3, heads=4, **HIDES[way]), EdgeListGraph(edges(8, 8, 40), 8)
    if "messages" in way:
        layer.register_message_forward_hook(lambda *_: None)
    layer.decomposed_layers = 3 if way == "decomposed" else 1
    broken, talks = graph.edge_index()[0] == 3, "talking" in way
    loses = torch.tensor([True, True, False, False]) if by_head and not talks else torch.ones(4, dtype=torch.bool)
    bias = torch.randn(graph.num_edges, 4).masked_fill(broken[:, None] & loses, -math.inf)
    bias = bias if by_head or talks else bias[:, 0]
    tensors = [torch.randn(8, 4, 3), *(torch.randn(8, layer.kv_heads, 3) for _ in range(2)), bias]
    tensors += [torch.randn(graph.num_edges, 2)] if layer.edge_dim else []
    found = []
    for spoiled in (0.0, number):
        leaves = [x.clone().requires_grad_() for x in tensors]
        with torch.no_grad():
            leaves[1][3], leaves[2][3] = spoiled, spoiled
            for features in leaves[4:]:
                features[broken] = spoiled
        query, key, value, bias, *features = leaves
        out = layer.combine(query, key, value, graph, *(features or [None]), bias).unflatten(-1, (4, 3))[:, loses]
        scored = layer.scored(query, key, graph, *(features or [None]), bias)
        weights, scores = scored.weights(), scored.scores()
        hidden = (bias if bias.dim() > 1 else bias[:, None]) == -math.inf
        assert (weights[hidden.expand_as(weights)] == 0).all() and (scores[hidden.expand_as(scores)] == -math.inf).all()
        leaves = [*leaves[:4], *(layer.talking_heads.parameters() if talks else ())]
        by_query, by_key, by_value, by_bias, *rest = torch.autograd.grad(out.square().sum(), leaves)
        keys = loses if layer.kv_heads == 4 else loses[::2]
        assert (by_bias[bias == -math.inf] == 0).all()
        found.append([out, by_query[:, loses], by_key[:, keys], by_value[:, keys], *rest])
    for actual, wanted in zip(*reversed(found), strict=True):
        assert wanted.isfinite().all()
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-4)


def test_a_score_may_be_an_object_without_parameters():
    torch.manual_seed(0)
    named, given = GraphAttention(6, 4, heads=2), GraphAttention(6, 4, heads=2, score=Dot())
    given.load_state_dict(named.state_dict())
    x, graph = torch.randn(9, 6), causal(9)
    torch.testing.assert_close(given(x, graph), named(x, graph))
    found, wanted = (layer(x, graph, return_attention_weights=True)[1][1] for layer in (given, named))
    torch.testing.assert_close(found, wanted)
    given.register_message_forward_hook(lambda module, inputs, out: None)
    torch.testing.assert_close(given(x, graph), named(x, graph))
    assert repr(given) == "GraphAttention(6, 4, heads=2, score=Dot)"
    with pytest.raises(ValueError, match="would not be learned"):
        GraphAttention(6, 4, heads=2, score=Additive(torch.ones(2, 4)))


@pytest.mark.parametrize("way", ["talking heads", "decomposed"])
def test_compiled_layers_hide_it_too(way):
    torch.manual_seed(0)
    options, graph, x = {"talking_heads": way == "talking heads"}, EdgeListGraph(edges(8, 8, 40), 8), torch.randn(8, 5)
    layer = GraphAttention(5, 3, heads=4, **options)
    layer.decomposed_layers = 3 if way == "decomposed" else 1
    bias = torch.randn(40, 4).masked_fill((graph.edge_index()[0] == 3)[:, None], -math.inf)
    wanted, others = layer(x, graph, edge_bias=bias), torch.arange(8) != 3
    x[3] = math.nan
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for found in (layer(x, graph, edge_bias=bias), compiled(x, graph, edge_bias=bias)):
        torch.testing.assert_close(found[others], wanted[others])
