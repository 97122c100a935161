"""Windows along the order of the nodes against their definition."""

import pytest
import torch
from torch_geometric.data import Data

from graphattn.transforms import Banded


@pytest.mark.parametrize("before, after, dilation", [(2, 1, 1), (0, 0, 1), (1, 2, 2), (None, 0, 1), (0, None, 3)])
def test_banded(before, after, dilation):
    graph = Banded(before, after, dilation)(Data(x=torch.rand(7, 2))).graph
    steps = range(-(7 if before is None else before), (7 if after is None else after) + 1)
    expected = [[any(key == query + dilation * step for step in steps) for key in range(7)] for query in range(7)]
    assert graph.mask().tolist() == expected


@pytest.mark.parametrize("arguments, name", [((-1, 0), "before"), ((0, -2), "after"), ((1, 1, 0), "dilation")])
def test_bad_windows_are_refused_at_once(arguments, name):
    with pytest.raises(ValueError, match=f"'{name}'"):
        Banded(*arguments)
