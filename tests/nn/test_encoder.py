import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, causal
from graphattn.nn import ALiBi, EncoderLayer, GraphAttention, RotaryPositions


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def randomize(module):
    """Biases and norms that are not 0 and 1, so that a forgotten one shows."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def assert_same_gradients(out, own, x, wanted, peer, y):
    """Gradients of the inputs, and those of our parameters gathered in the order of the peer's tensors."""
    cotangent = torch.randn_like(out)
    own_grads = torch.autograd.grad(out, [x, *own], cotangent)
    peer_grads = torch.autograd.grad(wanted, [y, *peer], cotangent)
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


def test_what_torch_has_and_we_have_not_is_named():
    peer = torch.nn.TransformerEncoderLayer(8, 2, activation=torch.tanh)
    with pytest.raises(ValueError, match="must be relu or gelu"):
        EncoderLayer.from_torch(peer)
    peer = torch.nn.TransformerEncoderLayer(8, 2)
    peer.self_attn = torch.nn.MultiheadAttention(8, 2, add_zero_attn=True)
    with pytest.raises(ValueError, match="add_zero_attn=True"):
        EncoderLayer.from_torch(peer)


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
