import pytest
import torch

from graphattn import CompleteGraph, causal
from graphattn.nn import DecoderLayer
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
