"""A function that runs as one operator inside compiled code."""

import torch

from graphattn.compiling.replayed import replay, replayed
from tests.compiled import check_compiled, features


@replayed(lambda x, times, scale: x.shape)
def power(x, times, scale):
    """scale * x^times, by as many products as the numbers in `times` say."""
    result = torch.ones_like(x)
    for _ in range(int(times.max())):
        result = result * x
    return scale * result


def test_without_a_compiler_it_is_the_function():
    x = features(3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: power(x, torch.tensor([2]), 0.5), x)


def test_loops_follow_numbers_of_the_running_code():
    def function(x, times):
        return power(x, times, 0.5) + 1

    check_compiled(function, lambda n: (features(n), torch.tensor([n - 3, 1])), backend="aot_eager")


def test_operators_are_what_torch_expects():
    arguments = f"{__name__}.power", [features(3).requires_grad_(), torch.tensor([3])], [2.0]
    tests = "test_schema", "test_faketensor", "test_autograd_registration", "test_aot_dispatch_dynamic"
    torch.library.opcheck(replay, arguments, test_utils=tests)
