import pytest
import torch

from graphattn import CompleteGraph, causal
from graphattn.nn import DecoderLayer
from tests.nn.spoiled import WAYS
from tests.nn.test_encoder import assert_same_gradients, random, randomize


def parameters_of(layer):
    """In the order in which torch.nn.TransformerDecoderLayer registers its own."""
    parameters = []
    for attention in (layer.attention, layer.memory_attention):
        linears = (attention.lin_query, attention.lin_key, attention.lin_value)
        parameters += [linear.weight for linear in linears] + [linear.bias for linear in linears]
        parameters += list(attention.lin_out.parameters())
    residuals = (layer.attention_residual, layer.memory_residual, layer.feed_forward_residual)
    rest = (layer.feed_forward.lin_in, layer.feed_forward.lin_out, *(residual.norm for residual in residuals))
    return parameters + [parameter for module in rest for parameter in module.parameters()]


@pytest.mark.parametrize("norm_first", [True, False])
def test_equals_torch(norm_first):
    torch.manual_seed(0)
    peer = torch.nn.TransformerDecoderLayer(12, 3, 20, 0.0, "gelu", 1e-3, batch_first=True, norm_first=norm_first)
    peer = randomize(peer.double())
    layer = DecoderLayer.from_torch(peer)
    x, memory = random(7, 12), random(5, 12)
    both = [torch.cat([x, memory]).requires_grad_() for _ in range(2)]
    out = layer(both[0][:7], both[0][7:], causal(7), CompleteGraph(7, 5))
    later = torch.ones(7, 7, dtype=torch.bool).triu(1)
    wanted = peer(both[1][None, :7], both[1][None, 7:], tgt_mask=later)[0]
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    assert_same_gradients(out, parameters_of(layer), both[0], wanted, list(peer.parameters()), both[1])


def test_ragged_examples_read_their_own_memory():
    torch.manual_seed(0)
    layer = DecoderLayer(8, 2, memory_channels=6).double()
    x, memory = random(5, 8), random(7, 6)
    out = layer(x, memory, causal([2, 3]), CompleteGraph([2, 3], [6, 1]))
    first = layer(x[:2], memory[:6], causal(2), CompleteGraph(2, 6))
    second = layer(x[2:], memory[6:], causal(3), CompleteGraph(3, 1))
    torch.testing.assert_close(out, torch.cat([first, second]))


def test_sizes_of_the_memory_graph_are_checked():
    with pytest.raises(ValueError, match="5"):
        DecoderLayer(8, 2)(torch.randn(3, 8), torch.randn(5, 8), causal(3), CompleteGraph(3, 4))


PARTS = ["self_attn", "multihead_attn", "linear1", "norm1", "norm2", "norm3", "dropout", "dropout1", "dropout3"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["", *PARTS])
def test_what_would_be_lost_is_refused(part, way):
    peer = torch.nn.TransformerDecoderLayer(8, 2, 16)
    spoil, reason = WAYS[way]
    spoil(peer.get_submodule(part))
    with pytest.raises(ValueError, match=f"'{part or 'layer'}' .*{reason}"):
        DecoderLayer.from_torch(peer)


def test_each_part_keeps_what_is_its_own():
    torch.manual_seed(0)
    peer = torch.nn.TransformerDecoderLayer(12, 3, 20, 0.0, batch_first=True)
    peer.multihead_attn = torch.nn.MultiheadAttention(12, 2, kdim=10, vdim=10, bias=False, batch_first=True)
    peer.norm1.eps, peer.norm2.eps, peer.norm3.eps = 0.1, 0.5, 0.9
    peer = randomize(peer.double())
    x, memory = random(7, 12), random(5, 10)
    for name in ("dropout1", "dropout2", "dropout3", None):
        for dropout in ("dropout1", "dropout2", "dropout3"):
            getattr(peer, dropout).p = float(dropout == name)
        wanted = peer(x[None], memory[None])[0]
        torch.testing.assert_close(
            DecoderLayer.from_torch(peer)(x, memory, CompleteGraph(7), CompleteGraph(7, 5)), wanted
        )
    peer.dropout.p, peer.dropout1.p, peer.dropout2.p, peer.dropout3.p = 0.1, 0.2, 0.3, 0.4
    peer.self_attn.dropout, peer.multihead_attn.dropout = 0.5, 0.6
    peer.multihead_attn.requires_grad_(False)
    layer = DecoderLayer.from_torch(peer)
    parts = [layer.feed_forward, layer.attention_residual, layer.memory_residual, layer.feed_forward_residual]
    found = [part.dropout for part in [*parts, layer.attention, layer.memory_attention]]
    assert found == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] and layer.memory_attention.heads == 2
    assert not any(parameter.requires_grad for parameter in layer.memory_attention.parameters())


def test_what_torch_has_and_we_have_not_is_named():
    peer = torch.nn.TransformerDecoderLayer(8, 2, 16)
    peer.multihead_attn = torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=4)
    with pytest.raises(ValueError, match="kdim=6, vdim=4"):
        DecoderLayer.from_torch(peer)
    peer.multihead_attn = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with pytest.raises(ValueError, match="must agree in 'batch_first'"):
        DecoderLayer.from_torch(peer)
    with pytest.raises(TypeError, match="must be torch's TransformerDecoderLayer .got TransformerEncoderLayer"):
        DecoderLayer.from_torch(torch.nn.TransformerEncoderLayer(8, 2))
