"""Sums over eight rows against NumPy, for heads of any size at any place."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_tables import add_rows, add_rows_by_places, dot_rows, prefetch_rows
from graphattn.kernels.vectors import put_lanes

SIZES = pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 23, 40])
DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])


@njit
def dots(a, table, places, size, result):
    put_lanes(dot_rows(a, 3, table, places, 1, 2, size), result, 0)


@njit
def combine(weights, table, places, y, size):
    add_rows(weights, 2, table, places, 1, 2, y, 3, size)


@njit
def combine_by_places(weights, weight_places, table, places, y, size):
    prefetch_rows(table, places, 1, 1, 0, size)
    add_rows_by_places(weights, weight_places, 4, table, places, 1, 2, y, 3, size)


def draw(size, dtype):
    random = np.random.default_rng(size)
    places = random.integers(0, 150, 9)  # the first is passed over
    table, a = random.standard_normal(200).astype(dtype), random.standard_normal(50).astype(dtype)
    return table, a, places, np.stack([table[place + 2 : place + 2 + size] for place in places[1:]])


@SIZES
@DTYPES
def test_dot_products(size, dtype, tolerance):
    table, a, places, rows = draw(size, dtype)
    result = np.empty(8, dtype)
    dots(a, table, places, size, result)
    np.testing.assert_allclose(result, rows @ a[3 : 3 + size], rtol=tolerance, atol=tolerance)


@SIZES
@DTYPES
def test_weighted_sums_touch_nothing_else(size, dtype, tolerance):
    table, weights, places, rows = draw(size, dtype)
    before = np.random.default_rng(1).standard_normal(50).astype(dtype)
    weight_places = np.array([0, 9, 1, 30, 30, 2, 7, 8, 11])
    for by_places in (False, True):
        y, wanted = before.copy(), before.copy()
        chosen = weights[weight_places[1:] + 4] if by_places else weights[2:10]
        wanted[3 : 3 + size] += chosen @ rows
        if by_places:
            combine_by_places(weights, weight_places, table, places, y, size)
        else:
            combine(weights, table, places, y, size)
        np.testing.assert_allclose(y, wanted, rtol=tolerance, atol=tolerance)
