import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from graphattn.nn import ContinuousPositions


def solution(module, places):
    """By scipy's adaptive steps, from the weights alone."""
    weights = [value.detach().numpy() for value in (module.lin_in.weight, module.lin_in.bias,
                                                    module.lin_out.weight, module.lin_out.bias)]  # fmt: skip

    def slope(time, state):
        hidden = np.tanh(weights[0] @ np.append(state, time / module.period) + weights[1])
        return weights[2] @ hidden + weights[3]

    found = solve_ivp(
        slope, (0, max(places)), module.start.detach().numpy(), t_eval=sorted(places), rtol=1e-11, atol=1e-12
    )
    return torch.from_numpy(found.y.T)


def test_solves_the_equation_with_fourth_order():
    torch.manual_seed(0)
    module = ContinuousPositions(4, 6, period=3.0).double()
    places = [0.37, 1.0, 2.5, 6.2]
    wanted, errors = solution(module, places), []
    for step in (0.5, 0.25):
        module.step = step
        errors.append((module(torch.tensor(places, dtype=torch.float64)) - wanted).abs().max().item())
    assert errors[1] < 1e-4 and errors[0] / errors[1] > 10  # 2^4 in the limit


def test_a_place_does_not_depend_on_the_others():
    module = ContinuousPositions(4)
    pos = torch.tensor([3.0, 0.5, 9.25])
    for place, wanted in zip(pos, module(pos)):
        torch.testing.assert_close(module(place[None, None])[0], wanted)
    assert module(torch.empty(0)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_for_parameters_alone(dtype):
    torch.manual_seed(0)
    module, pos = ContinuousPositions(8, step=2.0).to(dtype), torch.tensor([256.0, 257.0, 258.5])
    found = module(pos)
    assert found.dtype is dtype and torch.equal(found, module.float()(pos).to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(pos).to(dtype), found)


def test_gradients():
    torch.manual_seed(0)
    module = ContinuousPositions(3).double()
    pos = torch.tensor([0.3, 2.6], dtype=torch.float64, requires_grad=True)

    def encoding(pos, *parameters):
        return torch.func.functional_call(module, dict(zip(dict(module.named_parameters()), parameters)), pos)

    assert torch.autograd.gradcheck(encoding, (pos, *module.parameters()))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="must be positive .got 0 and"):
        ContinuousPositions(4, step=0)
    with pytest.raises(ValueError, match="0 or above .got -2"):
        ContinuousPositions(4)(torch.tensor([1.0, -2.0]))
