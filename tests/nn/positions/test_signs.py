import pytest
import torch

from graphattn import CompleteGraph
from graphattn.nn import RandomSigns, SignInvariant


def test_signs_are_drawn_for_each_example_and_column():
    torch.manual_seed(0)
    graph, x = CompleteGraph([2] * 500), torch.rand(1000, 3) + 1
    signs = (RandomSigns()(x, graph) / x).view(500, 2, 3)
    assert torch.equal(signs[:, 0], signs[:, 1]) and torch.equal(signs.abs(), torch.ones_like(signs))
    assert signs.mean((0, 1)).abs().max() < 0.15
    assert len(signs[:, 0].unique(dim=0)) == 8
    assert RandomSigns().eval()(x, graph) is x


def test_each_column_may_change_its_sign():
    torch.manual_seed(0)
    module, x = SignInvariant(3, 5).double(), torch.randn(4, 3, dtype=torch.float64)
    flipped = x * torch.tensor([1, -1, -1])
    torch.testing.assert_close(module(flipped), module(x))
    assert not torch.allclose(module(x * 2), module(x)) and not torch.allclose(module(x.flip(1)), module(x))
    with pytest.raises(ValueError, match=r"\[num_nodes, 3\] .got \[4, 2\]"):
        module(x[:, :2])
