import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn import GraphAttention
from graphattn.nn.torch_weights import Copies, load_attention, name_of_activation


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
    [
        (torch.relu_, None),
        (torch.nn.SiLU(), None),
        (torch.nn.PReLU(), None),
        (torch.relu, "relu"),
        (torch.nn.ReLU(), "relu"),
        (torch.nn.GELU(), "gelu"),
        (torch.nn.GELU("tanh"), None),
    ],
)
def test_activations_by_function_or_module(activation, name):
    if name is None:
        with pytest.raises(ValueError, match="must be relu or gelu"):
            name_of_activation(activation)
    else:
        assert name_of_activation(activation) == name


def test_the_activation_is_the_one_that_torch_runs_in_evaluation():
    """Its fast path goes by what the layer was made with."""
    with pytest.raises(ValueError, match="got gelu, and activation_relu_or_gelu=1"):
        name_of_activation(torch.nn.functional.gelu, 1)
    assert name_of_activation(torch.nn.functional.gelu, 2) == "gelu"


def test_copies_are_made_once_and_are_like_the_given_ones():
    copies = Copies()
    weight = torch.nn.Parameter(torch.randn(6, 2).bfloat16(), requires_grad=False)
    copied = copies(weight)
    assert copied is copies(weight) and copied is not weight and copies(None) is None
    assert torch.equal(copied, weight) and copied.dtype is torch.bfloat16 and not copied.requires_grad
    part = copies(weight, slice(2, 4))
    assert part is copies(weight, slice(2, 4)) and torch.equal(part, weight[2:4])
    weight.data.zero_()
    assert copied.any()
