import numpy as np
import pytest
from numba import njit

from graphattn.kernels.vectors import (
    exponentials,
    filled,
    first_lanes,
    gathered,
    lanes_at,
    largest_of,
    put_lanes,
    tanhs,
    total_of,
    where_at_least,
)

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def exp_all(x):
    for i in range(0, x.size, 8):
        put_lanes(exponentials(lanes_at(x, i)), x, i)


@njit
def tanh_all(x):
    for i in range(0, x.size, 8):
        put_lanes(tanhs(lanes_at(x, i)), x, i)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_exp_is_accurate_where_weights_live(dtype, tolerance):
    x = np.linspace(-86, 80, 100_000).astype(dtype)
    wanted = np.exp(x.astype(np.float64))
    exp_all(x)
    assert np.max(np.abs(x - wanted) / wanted) < tolerance


@BOTH
def test_exp_at_the_ends(dtype):
    x = np.array([-np.inf, -1e30, 0.0, np.inf, np.nan, -0.0, 1000.0, -1000.0], dtype=dtype)
    exp_all(x)
    np.testing.assert_array_equal(x, np.array([0, 0, 1, np.inf, np.nan, 1, np.inf, 0], dtype=dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-7), (np.float64, 1e-15)])
def test_tanh(dtype, tolerance):
    x = np.concatenate([np.linspace(-20, 20, 9_998), [-np.inf, np.inf]]).astype(dtype)
    wanted = np.tanh(x.astype(np.float64))
    tanh_all(x)
    np.testing.assert_allclose(x, wanted, rtol=0, atol=tolerance)


@njit
def arithmetic(x, y):
    a, b = lanes_at(x, 1), lanes_at(x, 9)
    put_lanes((a + b) * a - b / a, y, 0)
    put_lanes(x.dtype.type(2) - a * x.dtype.type(3), y, 8)
    put_lanes(filled(x[3]), y, 16)
    return total_of(a), largest_of(b)


@BOTH
def test_arithmetic_from_any_place_on(dtype):
    x = np.random.default_rng(0).standard_normal(17).astype(dtype)
    y = np.empty(24, dtype)
    total, largest = arithmetic(x, y)
    a, b = x[1:9], x[9:]
    np.testing.assert_allclose(y[:8], (a + b) * a - b / a, rtol=1e-5)
    np.testing.assert_allclose(y[8:16], 2 - 3 * a, rtol=1e-5)
    assert (y[16:] == x[3]).all()
    assert total == pytest.approx(a.sum(), rel=1e-5)
    assert largest == b.max()


@njit
def choose(x, y, first, count):
    a, zero = lanes_at(x, 0), x.dtype.type(0)
    put_lanes(where_at_least(a, zero, a, x.dtype.type(7)), y, 0)
    put_lanes(first_lanes(filled(x.dtype.type(1)), count), y, 8)
    put_lanes(gathered(x, first, 1, 2), y, 16)


@BOTH
def test_choices(dtype):
    x = np.array([1, -2, 0, np.nan, np.inf, -np.inf, 5, -6, 8, 9], dtype)
    y, places = np.empty(24, dtype), np.array([99, 4, 7, 6, 0, 5, 1, 1, 2])
    choose(x, y, places, 3)
    np.testing.assert_array_equal(y[:8], [1, 7, 0, 7, np.inf, 7, 5, 7])
    np.testing.assert_array_equal(y[8:16], [1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(y[16:], x[places[1:] + 2])
