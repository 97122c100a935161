import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn import GraphAttention
from graphattn.nn.torch_weights import load_attention, name_of_activation


def test_attention_to_keys_and_values_of_another_size():
    torch.manual_seed(0)
    peer = torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
    torch.nn.init.normal_(peer.in_proj_bias)
    layer = GraphAttention((6, 8), 4, 2, project_out=True)
    load_attention(layer, peer)
    x, memory = torch.randn(5, 8), torch.randn(7, 6)
    wanted, _ = peer(x[None], memory[None], memory[None])
    torch.testing.assert_close(layer((memory, x), CompleteGraph(5, 7)), wanted[0])


@pytest.mark.parametrize(
    ("activation", "name"),
    [(torch.relu_, None), (torch.nn.ReLU(), "relu"), (torch.nn.GELU(), "gelu"), (torch.nn.GELU("tanh"), None)],
)
def test_activations_by_function_or_module(activation, name):
    if name is None:
        with pytest.raises(ValueError, match="must be relu or gelu"):
            name_of_activation(activation)
    else:
        assert name_of_activation(activation) == name
