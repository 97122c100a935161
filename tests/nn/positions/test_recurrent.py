import pytest
import torch

from graphattn.nn import RecurrentPositions


def test_counts_step_by_step():
    torch.manual_seed(0)
    module = RecurrentPositions(5).double()
    cell = torch.nn.GRUCell(5, 5).double()
    cell.load_state_dict(module.cell.state_dict())
    pos = torch.tensor([4, 0, 2, 2])
    found = module(pos)
    for node, steps in enumerate(pos.tolist()):
        state = module.start[None]
        for _ in range(steps):
            state = cell(module.input[None], state)
        torch.testing.assert_close(found[node], state[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_for_parameters_alone(dtype):
    torch.manual_seed(0)
    module, pos = RecurrentPositions(8).to(dtype), torch.tensor([1, 7, 30])
    found = module(pos)
    assert found.dtype is dtype and torch.equal(found, module.float()(pos).to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(pos).to(dtype), found)


def test_no_nodes_and_only_the_first():
    module = RecurrentPositions(4)
    assert module(torch.empty(0)).shape == (0, 4)
    assert torch.equal(module(torch.zeros(2, 1)), module.start.expand(2, 4))


@pytest.mark.parametrize(("pos", "words"), [([-1.0], "0 or above .got -1"), ([[1.0, 2.0]], r"got \[1, 2\]")])
def test_bad_positions_are_named(pos, words):
    with pytest.raises(ValueError, match=words):
        RecurrentPositions(4)(torch.tensor(pos))
