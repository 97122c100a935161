import numpy as np
import pytest
import torch
from numba import njit

from graphattn.kernels import dropout
from graphattn.kernels.edges_cpu_dropout import keep_factors


@njit
def fill(factors, start, count, query, col, repeat, heads, seed, threshold, keep_scale):
    keep_factors(factors, start, count, query, col, repeat, heads, seed, threshold, keep_scale)


@pytest.mark.parametrize("with_repeats", [False, True])
@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_the_same_mask_as_torch_operations(probability, with_repeats, heads=3, start=2, count=5):
    seed, query, col = 2**32 - 5, 10_000_019, np.random.default_rng(0).integers(0, 2**31, 20).astype(np.int32)
    repeat = np.arange(20) % 3 if with_repeats else np.zeros(0, np.int64)
    factors = np.full(8 * heads, -1.0)
    keep_scale = 0.0 if probability == 1 else 1 / (1 - probability)
    fill(factors, start, count, query, col, repeat, heads, seed, round(probability * 2**32), keep_scale)
    part = slice(start, start + count)
    repeats = torch.from_numpy(repeat[part]) if with_repeats else torch.zeros(count, dtype=torch.long)
    key = torch.from_numpy(col[part]).long()
    wanted = dropout.keep_factors(
        torch.tensor(seed), torch.full_like(key, query), key, repeats, heads, probability, torch.float64
    )
    found = factors.reshape(heads, 8)
    np.testing.assert_array_equal(found[:, :count], wanted.T.numpy())
    assert (found[:, count:] == -1).all()
