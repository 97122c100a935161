import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, causal
from graphattn.nn import (
    GraphTransformer,
    GraphTransformerDecoder,
    PerLayer,
    RelativeBias,
    RotaryPositions,
    SinusoidalPositions,
)
from tests.nn.spoiled import WAYS
from tests.nn.test_encoder import random, randomize


@pytest.mark.parametrize("norm_first", [True, False])
def test_equals_torch_encoder(norm_first):
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True, norm_first=norm_first)
    peer = torch.nn.TransformerEncoder(
        layer, 3, torch.nn.LayerNorm(12) if norm_first else None, enable_nested_tensor=False
    )
    peer = randomize(peer.double())
    model, x = GraphTransformer.from_torch(peer), random(6, 12)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    torch.testing.assert_close(model(x, causal(6)), peer(x[None], mask=later)[0], rtol=1e-10, atol=1e-10)


def test_equals_torch_decoder():
    torch.manual_seed(0)
    layer = torch.nn.TransformerDecoderLayer(12, 3, 20, 0.0, batch_first=True, norm_first=True)
    peer = randomize(torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(12)).double())
    model, x, memory = GraphTransformerDecoder.from_torch(peer), random(6, 12), random(4, 12)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    out = model(x, memory, causal(6), CompleteGraph(6, 4))
    torch.testing.assert_close(out, peer(x[None], memory[None], tgt_mask=later)[0], rtol=1e-10, atol=1e-10)


def stack_of(num_layers=2, norm=None, **options):
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True, **options)
    return torch.nn.TransformerEncoder(layer, num_layers, norm, enable_nested_tensor=False)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["", "layers", "layers.1", "norm"])
def test_what_would_be_lost_is_refused(part, way):
    peer = stack_of(norm=torch.nn.LayerNorm(12))
    spoil, reason = WAYS[way]
    spoil(peer.get_submodule(part))
    name = {"": "stack", "layers": "stack.layers", "layers.1": "layer", "norm": "norm"}[part]
    with pytest.raises(ValueError, match=f"'{name}' .*{reason}"):
        GraphTransformer.from_torch(peer)


def test_other_containers_and_norms_are_refused():
    layers = [torch.nn.TransformerEncoderLayer(12, 3) for _ in range(2)]
    for other in (
        torch.nn.Sequential(*layers),
        torch.nn.ModuleList(layers),
        torch.nn.Transformer(12, 3, 1, 1),
        layers[0],
    ):
        with pytest.raises(TypeError, match=f"must be torch's TransformerEncoder .got {type(other).__name__}"):
            GraphTransformer.from_torch(other)
    with pytest.raises(TypeError, match="must be torch's TransformerDecoder .got TransformerEncoder"):
        GraphTransformerDecoder.from_torch(stack_of())
    with pytest.raises(TypeError, match="'norm' must be torch's LayerNorm .* .got BatchNorm1d"):
        GraphTransformer.from_torch(stack_of(norm=torch.nn.BatchNorm1d(12)))
    with pytest.raises(ValueError, match=r"over the 12 channels \(got normalized_shape=\(5, 12\)\)"):
        GraphTransformer.from_torch(stack_of(norm=torch.nn.LayerNorm((5, 12))))
    with pytest.raises(ValueError, match="must have a layer"):
        GraphTransformer.from_torch(torch.nn.TransformerEncoder(layers[0], 0))


@pytest.mark.parametrize("own", [GraphTransformer, GraphTransformerDecoder])
def test_layers_that_attend_along_different_axes_are_refused(own):
    kind = {GraphTransformer: "Encoder", GraphTransformerDecoder: "Decoder"}[own]
    layer, stack = (getattr(torch.nn, f"Transformer{kind}{suffix}") for suffix in ("Layer", ""))
    peer = stack(layer(12, 3), 2)
    peer.layers[1] = layer(12, 3, batch_first=True)
    with pytest.raises(ValueError, match=r"must agree in 'batch_first' \(got \[False, True\]\)"):
        own.from_torch(peer)


NORMS = [
    torch.nn.LayerNorm(12, eps=0.3),
    torch.nn.LayerNorm(12, elementwise_affine=False),
    torch.nn.RMSNorm(12),
    torch.nn.Identity(),
]


@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_layers_that_differ_and_their_last_norm(norm):
    torch.manual_seed(0)
    peer = randomize(stack_of(norm=norm).double())
    peer.layers[1] = torch.nn.TransformerEncoderLayer(12, 2, 7, 0.0, "gelu", 0.2, True, norm_first=True).double()
    model, x = GraphTransformer.from_torch(peer), random(6, 12)
    torch.testing.assert_close(model(x, CompleteGraph(6)), peer(x[None])[0])
    assert [layer.attention.heads for layer in model.layers] == [3, 2]


def test_shared_layers_and_weights_stay_shared_and_frozen_ones_frozen():
    torch.manual_seed(0)
    peer = stack_of(3, torch.nn.LayerNorm(12))
    peer.layers[2] = peer.layers[0]
    peer.layers[1].linear1.weight = peer.layers[0].linear1.weight
    peer.layers[1].self_attn.in_proj_weight = peer.layers[0].self_attn.in_proj_weight
    peer.norm.weight = peer.layers[0].norm1.weight
    peer.layers[1].requires_grad_(False)
    peer = randomize(peer.double())
    model, x = GraphTransformer.from_torch(peer), random(6, 12)
    first, second, third = model.layers
    assert third is first and second.feed_forward.lin_in.weight is first.feed_forward.lin_in.weight
    assert second.attention.lin_key.weight is first.attention.lin_key.weight
    assert model.norm.weight is first.attention_residual.norm.weight
    assert sum(x.numel() for x in model.parameters()) == sum(x.numel() for x in peer.parameters())
    frozen = [sum(x.numel() for x in module.parameters() if not x.requires_grad) for module in (model, peer)]
    assert frozen[0] == frozen[1] > 0
    torch.testing.assert_close(model(x, CompleteGraph(6)), peer(x[None])[0])


def test_padding_and_ragged_batches_agree():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True)
    peer = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()
    x = random(2, 5, 12)
    is_padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    out = GraphTransformer.from_torch(peer)(x[~is_padding], CompleteGraph([5, 3]))
    torch.testing.assert_close(out, peer(x, src_key_padding_mask=is_padding)[~is_padding], rtol=1e-10, atol=1e-10)


def test_a_graph_for_each_layer():
    torch.manual_seed(0)
    bias = RelativeBias(2, 3)
    model = GraphTransformer(8, 3, 2, norm_first=True, edge_bias=bias).double()
    x, graphs = random(6, 8), [BandedGraph(6, 1, 1), CompleteGraph(6), BandedGraph(6, 1, 1)]
    wanted = x
    for layer, graph in zip(model.layers, graphs):
        wanted = layer(wanted, graph, edge_bias=bias(graph))
    torch.testing.assert_close(model(x, PerLayer(graphs)), model.norm(wanted))
    with pytest.raises(ValueError, match="each of the 3 layers .got 2"):
        model(x, PerLayer(graphs[:2]))
    with pytest.raises(ValueError, match="must be a rule"):
        model(x, PerLayer(graphs), edge_bias=torch.zeros(16))


def test_stochastic_depth_grows_to_the_last_layer():
    layers = GraphTransformer(8, 3, 2, drop_path=0.5).layers
    assert [layer.feed_forward_residual.drop_path for layer in layers] == [0, 0.25, 0.5]


@pytest.mark.parametrize("encoding", ["none", "added", "rotary", "bias"])
def test_positions_alone_tell_the_order(encoding):
    torch.manual_seed(0)
    options = {"rotary": {"positions": RotaryPositions()}, "bias": {"edge_bias": RelativeBias(2, 4)}}
    model = GraphTransformer(8, 2, 2, **options.get(encoding, {})).double()
    randomize(model)
    x, order = random(5, 8), torch.tensor([4, 2, 0, 1, 3])
    where = SinusoidalPositions(8)(torch.arange(5.0)) if encoding == "added" else 0.0
    out, moved = model(x + where, CompleteGraph(5)), model(x[order] + where, CompleteGraph(5))
    assert torch.allclose(moved, out[order], atol=1e-10) == (encoding == "none")


def test_reset_is_repeatable():
    model = GraphTransformer(8, 2, 2, norm_first=True)
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        model.reset_parameters()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("model", [GraphTransformer(12, 2, heads=3), GraphTransformer(12, 2, heads=3).layers[0]])
def test_features_are_looked_at_before_the_graph(model):
    """As whoever comes from torch's encoder calls it: the graph is right, and x is what to change."""
    with pytest.raises(ValueError, match=r"'x' must be \[num_nodes, 12\] \(got \[2, 6, 12\]\)"):
        model(torch.randn(2, 6, 12), CompleteGraph(6))
    with pytest.raises(TypeError, match="got ndarray"):
        model(torch.randn(6, 12).numpy(), CompleteGraph(6))
