import numpy as np
import pytest
from numba import njit

from graphattn.kernels.vectors import add_scaled, dot, exponentials


@njit
def exp_all(x):
    exponentials(x, x.size)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_exp_is_accurate_where_weights_live(dtype, tolerance):
    x = np.linspace(-86, 80, 100_001).astype(dtype)
    wanted = np.exp(x.astype(np.float64))
    exp_all(x)
    assert np.max(np.abs(x - wanted) / wanted) < tolerance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_at_the_ends(dtype):
    x = np.array([-np.inf, -1e30, 0.0, np.inf, np.nan], dtype=dtype)
    exp_all(x)
    np.testing.assert_array_equal(x, np.array([0, 0, 1, np.inf, np.nan], dtype=dtype))


@njit
def both(a, b, size):
    result = dot(a, 3, b, 1, size)
    add_scaled(a.dtype.type(2), a, 3, b, 1, size)
    return result


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 23, 24, 31, 40])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_rows_of_any_length_at_any_place(size, dtype, tolerance):
    random = np.random.default_rng(size)
    a, b = random.standard_normal((2, 50)).astype(dtype)
    before = b.copy()
    assert both(a, b, size) == pytest.approx(float(a[3 : 3 + size] @ before[1 : 1 + size]), abs=tolerance)
    wanted = before.copy()
    wanted[1 : 1 + size] += 2 * a[3 : 3 + size]
    np.testing.assert_allclose(b, wanted, rtol=tolerance, atol=tolerance)
