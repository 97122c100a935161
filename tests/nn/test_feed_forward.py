import math

import pytest
import torch

from graphattn.nn import FeedForward


@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu"])
def test_equals_the_formula(activation):
    torch.manual_seed(0)
    module = FeedForward(2, 3, activation).double()
    x = torch.randn(2, dtype=torch.float64)
    out = module(x[None])[0]
    hidden = []
    first = module.lin_in(x).tolist()
    for unit in range(3):
        a = first[unit]
        if activation == "relu":
            hidden.append(max(a, 0))
        elif activation == "gelu":
            hidden.append(a * (1 + math.erf(a / math.sqrt(2))) / 2)
        else:
            hidden.append(a / (1 + math.exp(-a)) * module.lin_gate(x)[unit].item())
    hidden = torch.tensor(hidden, dtype=torch.float64)
    torch.testing.assert_close(out, module.lin_out.weight @ hidden + module.lin_out.bias)


def test_dropout_of_hidden_numbers_in_training_only():
    module = FeedForward(4, 8, dropout=1.0)
    x = torch.randn(5, 4)
    torch.testing.assert_close(module(x), module.lin_out.bias.expand(5, 4))
    assert not torch.allclose(module.eval()(x), module.lin_out.bias.expand(5, 4))


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'activation' must be one of .*got 'tanh'"):
        FeedForward(4, 8, "tanh")
