import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, causal
from graphattn.nn import ALiBi, EncoderLayer, GraphAttention, RotaryPositions
from tests.nn.peer import LOSSES
from tests.nn.spoiled import WAYS, WEIGHT_WAYS


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def randomize(module):
    """Biases and norms that are not 0 and 1, so that a forgotten one shows."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def assert_same_gradients(out, own, x, wanted, peer, y):
    """Gradients of the inputs, and those of our parameters gathered in the order of the peer's tensors, for each loss."""
    for loss in LOSSES.values():
        own_grads = torch.autograd.grad(loss(out.sin()), [x, *own], retain_graph=True)
        peer_grads = torch.autograd.grad(loss(wanted.sin()), [y, *peer], retain_graph=True)
        torch.testing.assert_close(own_grads[0], peer_grads[0], rtol=1e-10, atol=1e-10)
        mine = torch.cat([grad.flatten() for grad in own_grads[1:]])
        theirs = torch.cat([grad.flatten() for grad in peer_grads[1:]])
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def parameters_of(layer):
    """In the order in which torch.nn.TransformerEncoderLayer registers its own."""
    attention, feed_forward = layer.attention, layer.feed_forward
    linears = (attention.lin_query, attention.lin_key, attention.lin_value)
    rest = (attention.lin_out, feed_forward.lin_in, feed_forward.lin_out,
            layer.attention_residual.norm, layer.feed_forward_residual.norm)  # fmt: skip
    in_proj = [linear.weight for linear in linears] + [linear.bias for linear in linears if linear.bias is not None]
    return in_proj + [parameter for module in rest for parameter in module.parameters()]


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("is_causal", [True, False])
def test_equals_torch(norm_first, activation, bias, is_causal):
    torch.manual_seed(0)
    peer = torch.nn.TransformerEncoderLayer(
        12, 3, 20, 0.0, activation, layer_norm_eps=1e-3, batch_first=True, norm_first=norm_first, bias=bias
    )
    peer = randomize(peer.double())
    layer = EncoderLayer.from_torch(peer)
    x = random(7, 12).requires_grad_()
    y = x.detach().clone().requires_grad_()
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if is_causal else None
    out, wanted = layer(x, causal(7) if is_causal else CompleteGraph(7)), peer(y[None], src_mask=mask)[0]
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    assert_same_gradients(out, parameters_of(layer), x, wanted, list(peer.parameters()), y)


def test_takes_over_dropout_dtype_and_mode():
    peer = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.25).bfloat16().eval()
    layer = EncoderLayer.from_torch(peer)
    assert (layer.attention.dropout, layer.attention_residual.dropout, layer.feed_forward.dropout) == (0.25,) * 3
    assert not layer.training and layer.feed_forward.lin_in.weight.dtype is torch.bfloat16


PARTS = ["self_attn", "self_attn.out_proj", "linear1", "linear2", "norm1", "norm2", "dropout", "dropout1", "dropout2"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["", *PARTS])
def test_what_would_be_lost_is_refused(part, way):
    peer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    spoil, reason = WAYS[way]
    spoil(peer.get_submodule(part))
    with pytest.raises(ValueError, match=f"'{part or 'layer'}' .*{reason}"):
        EncoderLayer.from_torch(peer)


@pytest.mark.parametrize("way", WEIGHT_WAYS)
@pytest.mark.parametrize("part", ["self_attn.out_proj", "linear1", "linear2"])
def test_weights_that_are_no_parameters_are_refused(part, way):
    peer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    spoil, reason = WEIGHT_WAYS[way]
    spoil(peer.get_submodule(part))
    with pytest.raises(ValueError, match=f"'{part}' {reason}"):
        EncoderLayer.from_torch(peer)


@pytest.mark.parametrize("method", ["_sa_block", "_ff_block"])
def test_blocks_of_a_subclass_or_of_the_object_are_refused(method):
    kind = torch.nn.TransformerEncoderLayer
    own = type("Own", (kind,), {method: lambda self, x, *_, **__: 0.5 * getattr(super(), method)(x)})
    peer = kind(8, 2)
    setattr(peer, method, lambda x, *_, **__: x)
    for layer in (own(8, 2), peer):
        with pytest.raises(ValueError, match=f"'layer' has methods of its own.*{method}"):
            EncoderLayer.from_torch(layer)


OTHERS = {
    "norm1": (torch.nn.BatchNorm1d(8), TypeError, "'norm1' must be torch's LayerNorm .got BatchNorm1d"),
    "norm2": (torch.nn.RMSNorm(8), TypeError, "'norm2' must be torch's LayerNorm .got RMSNorm"),
    "norm2 alone": (torch.nn.LayerNorm(8, elementwise_affine=False), ValueError, "'norm2' must be .* with a weight"),
    "linear1": (
        torch.nn.Sequential(torch.nn.Linear(8, 16)),
        TypeError,
        "'linear1' must be torch's Linear .got Sequential",
    ),
    "linear2": (torch.nn.Linear(16, 4), ValueError, "back to 8"),
    "dropout": (
        torch.nn.AlphaDropout(),
        TypeError,
        "'dropout' must be torch's Dropout or torch's Identity .got AlphaD",
    ),
    "activation": (torch.nn.Tanh(), ValueError, "must be relu or gelu"),
    "self_attn": (torch.nn.MultiheadAttention(8, 2, add_zero_attn=True), ValueError, "add_zero_attn=True"),
    "self_attn bias": (torch.nn.MultiheadAttention(8, 2, add_bias_kv=True), ValueError, "add_bias_kv"),
    "self_attn sizes": (torch.nn.MultiheadAttention(8, 2, kdim=6), ValueError, "kdim=6"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_torch_has_and_we_have_not_is_named(name):
    other, error, message = OTHERS[name]
    peer = torch.nn.TransformerEncoderLayer(8, 2, 16)
    setattr(peer, name.split()[0], other)
    with pytest.raises(error, match=message):
        EncoderLayer.from_torch(peer)


@pytest.mark.parametrize(
    "other", [torch.nn.TransformerDecoderLayer(8, 2), torch.nn.Sequential(), torch.nn.Linear(8, 8)]
)
def test_other_modules_are_refused(other):
    with pytest.raises(TypeError, match=f"must be torch's TransformerEncoderLayer .got {type(other).__name__}"):
        EncoderLayer.from_torch(other)


def test_activations_are_those_of_the_layer():
    with pytest.raises(ValueError, match="must be relu or gelu"):
        EncoderLayer.from_torch(torch.nn.TransformerEncoderLayer(8, 2, activation=torch.tanh))
    assert EncoderLayer.from_torch(torch.nn.TransformerEncoderLayer(8, 2, activation=torch.nn.GELU())).feed_forward


@pytest.mark.parametrize("norm_first", [True, False])
def test_each_part_keeps_what_is_its_own(norm_first):
    """Norms, dropouts, heads and offsets that differ; in training, where dropouts that are on leave nothing."""
    torch.manual_seed(0)
    peer = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True, norm_first=norm_first)
    peer.self_attn = torch.nn.MultiheadAttention(12, 4, bias=False, batch_first=True)
    peer.norm1.eps, peer.norm2.eps = 0.1, 0.5
    peer.linear1.bias = peer.norm2.bias = None
    peer = randomize(peer.double())
    x = random(7, 12)
    for p1, p2 in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]:
        peer.dropout1.p, peer.dropout2.p = p1, p2
        torch.testing.assert_close(EncoderLayer.from_torch(peer)(x, CompleteGraph(7)), peer(x[None])[0])
    peer.dropout.p, peer.dropout1.p, peer.dropout2.p, peer.self_attn.dropout = 0.1, 0.2, 0.3, 0.4
    layer = EncoderLayer.from_torch(peer)
    found = (layer.feed_forward, layer.attention_residual, layer.feed_forward_residual, layer.attention)
    assert [part.dropout for part in found] == [0.1, 0.2, 0.3, 0.4] and layer.attention.heads == 4


def test_modes_of_training_dtypes_and_what_is_frozen():
    peer = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.5).bfloat16()
    peer.norm1.float(), peer.norm2.float()
    peer.eval(), peer.dropout1.train(), peer.self_attn.train()  # dropout that goes on in evaluation
    peer.self_attn.requires_grad_(False), peer.norm2.bias.requires_grad_(False)
    layer = EncoderLayer.from_torch(peer)
    parts = (layer, layer.attention, layer.attention_residual, layer.feed_forward, layer.feed_forward_residual)
    assert [part.training for part in parts] == [False, True, True, False, False]
    frozen = {name for name, parameter in layer.named_parameters() if not parameter.requires_grad}
    of_attention = {f"attention.{name}" for name, _ in layer.attention.named_parameters()}
    assert frozen == of_attention | {"feed_forward_residual.norm.bias"}
    dtypes = {name: parameter.dtype for name, parameter in layer.named_parameters()}
    assert {dtype for name, dtype in dtypes.items() if "norm" in name} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if "norm" not in name} == {torch.bfloat16}


def test_shared_parameters_stay_shared_and_are_copies():
    torch.manual_seed(0)
    peer = torch.nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True)
    peer.norm2 = peer.norm1
    peer.linear2.weight = peer.linear1.weight
    randomize(peer.double())
    layer, x = EncoderLayer.from_torch(peer), random(5, 8)
    assert layer.feed_forward.lin_in.weight is layer.feed_forward.lin_out.weight
    assert layer.attention_residual.norm.weight is layer.feed_forward_residual.norm.weight
    assert len(list(layer.parameters())) == len(list(peer.parameters())) + 4  # queries, keys and values are three
    out, wanted = layer(x, CompleteGraph(5)), peer(x[None])[0]
    torch.testing.assert_close(out, wanted)
    for loss in (torch.Tensor.sum, torch.Tensor.mean):
        found, expected = (torch.autograd.grad(loss(y), weight, retain_graph=True)[0]
                           for y, weight in ((out.tanh(), layer.feed_forward.lin_in.weight),
                                             (wanted.tanh(), peer.linear1.weight)))  # fmt: skip
        torch.testing.assert_close(found, expected)
    peer.linear1.weight.data.zero_()
    torch.testing.assert_close(layer(x, CompleteGraph(5)), out)


def test_examples_do_not_see_each_other():
    torch.manual_seed(0)
    layer = EncoderLayer(8, 2, positions=RotaryPositions(), edge_bias=ALiBi(2), activation="swiglu").double()
    x = random(9, 8)
    parts = [layer(x[:3], BandedGraph(3, 1, 1)), layer(x[3:], BandedGraph(6, 1, 1))]
    torch.testing.assert_close(layer(x, BandedGraph([3, 6], 1, 1)), torch.cat(parts))


def test_edges_with_features_and_a_bias():
    torch.manual_seed(0)
    layer = EncoderLayer(8, 2, edge_dim=3, kv_heads=1).double()
    graph, x = EdgeListGraph(torch.randint(6, (2, 15)), 6), random(6, 8)
    edge_attr, bias = random(15, 3), random(15)
    assert isinstance(layer.attention, GraphAttention)
    y = layer.attention_residual.norm(x + layer.attention(x, graph, edge_attr, edge_bias=bias))
    wanted = layer.feed_forward_residual.norm(y + layer.feed_forward(y))
    torch.testing.assert_close(layer(x, graph, edge_attr, edge_bias=bias), wanted)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="multiple of 'heads' .got 10 and 4"):
        EncoderLayer(10, 4)


def test_a_block_has_no_place_for_new_edge_features():
    with pytest.raises(ValueError, match="'update_edges' is an option of GraphAttention alone"):
        EncoderLayer(8, 2, edge_dim=3, update_edges=True)
