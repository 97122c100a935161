import numpy as np
import pytest
import torch

from graphattn.kernels.kernel import Inputs
from graphattn.kernels.native.arrays import LARGE_PAGES, LINE, Sizes, empty, zeros


@pytest.mark.parametrize("make", [zeros, empty])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 3, LARGE_PAGES // 16])
def test_memory_starts_at_a_cache_line(make, dtype, rows):
    with torch.device("meta"):  # whatever the default device is
        found = make((rows, 2, 2), dtype)
    assert found.shape == (rows, 2, 2) and found.dtype == dtype and found.device.type == "cpu"
    assert found.is_contiguous() and found.data_ptr() % LINE == 0
    if make is zeros:
        assert not np.any(found.numpy())


def test_sizes():
    inputs = Inputs(torch.ones(5, 4, 3), torch.ones(6, 2, 3), torch.ones(6, 2, 7))
    assert Sizes.of(inputs) == (4, 2, 3, 7, 0)
    assert Sizes.of(inputs._replace(edge_features=torch.ones(9, 8))).edge_dim == 8
