import pytest
import torch

from graphattn.graphs.sorting import FEWEST, loops_for
from graphattn.kernels.native import sorting
from graphattn.kernels.native.library import why_not_native


class Index(torch.Tensor):
    """A tensor with another name."""


def test_the_loops_take_indices_on_the_cpu():
    assert why_not_native() is None, "compile them: python graphattn/kernels/native/build.py"
    index = torch.arange(FEWEST)
    assert loops_for(index) is loops_for(index.int(), index.int()) is sorting


@pytest.mark.parametrize(
    "index",
    [
        torch.arange(FEWEST - 1),
        torch.arange(FEWEST).short(),
        torch.arange(FEWEST).float(),
        torch.arange(FEWEST, device="meta"),
        torch.arange(FEWEST).as_subclass(Index),
    ],
    ids=["few", "int16", "float32", "meta", "subclass"],
)
def test_torch_takes_the_others(index):
    assert loops_for(index) is None
    assert loops_for(index[:0], index) is None
