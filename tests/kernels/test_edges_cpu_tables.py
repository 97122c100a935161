"""Sums over eight rows against NumPy, for heads of any size at any place."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_tables import (
    add_heads,
    add_heads_by_places,
    add_rows,
    add_rows_by_places,
    dot_heads,
    dot_rows,
    prefetch_rows,
    set_heads,
)
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
    prefetch_rows(table, places, 0, size)
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


@njit
def all_heads(a, table, places, weights, products, sums, kept, kv_heads, group, size):
    dot_heads(products, 8, 0, a, 0, table, places, 0, places, kv_heads, group, size, False)
    dot_heads(products, 8, 0, a, 0, table, places, 0, places[:0], kv_heads, group, size, True)
    add_heads(weights, 8, 0, table, places, 0, places, sums, 0, kv_heads, group, size)
    set_heads(weights, a, 0, True, kept, places, kv_heads, group, size)
    set_heads(weights, a, 0, False, kept, places, kv_heads, group, size)


@pytest.mark.parametrize("size", [3, 8, 20])
@pytest.mark.parametrize(("kv_heads", "group"), [(1, 1), (3, 1), (2, 2)])
def test_heads_that_share_the_vectors_of_a_row(kv_heads, group, size):
    random = np.random.default_rng(0)
    heads, width = kv_heads * group, kv_heads * size
    a, weights = random.standard_normal((heads, size)), random.standard_normal((heads, 8))
    table, nodes = random.standard_normal((20, heads * size)), random.permutation(20)[:8]
    products, sums, kept = np.empty((heads, 8)), np.zeros((heads, size)), np.ones((20, width))
    flat = [x.reshape(-1) for x in (a, table[:, :width].copy(), weights, products, sums, kept)]
    all_heads(*flat[:2], nodes * width, *flat[2:], kv_heads, group, size)
    rows = table[nodes, :width].reshape(8, kv_heads, 1, size)
    shared, many = rows.repeat(group, 2).reshape(8, heads, size), (kv_heads, group)
    np.testing.assert_allclose(products, 2 * np.einsum("hc,ehc->he", a, shared), rtol=1e-12)
    np.testing.assert_allclose(sums, np.einsum("he,ehc->hc", weights, shared), rtol=1e-12)
    wanted = np.ones((20, kv_heads, size))
    outer = np.einsum("gje,gjc->egc", weights.reshape(*many, 8), a.reshape(*many, size))
    wanted[nodes] = 2 * outer  # set, then added once more
    np.testing.assert_allclose(kept.reshape(20, kv_heads, size), wanted, rtol=1e-12)


def test_of_equal_rows_the_first_lane_is_kept():
    kept, weights, a = np.zeros(3), np.arange(1.0, 9.0), np.ones(3)
    set_only(weights, a, kept, np.zeros(8, np.int64))
    assert (kept == 1).all()


@njit
def set_only(weights, a, kept, places):
    set_heads(weights, a, 0, True, kept, places, 1, 1, 3)


@njit
def to_groups(weights, weight_places, table, places, y, kv_heads, group, size):
    add_heads_by_places(weights, weight_places, 1, table, places, places, y, 2, kv_heads, group, size)


@pytest.mark.parametrize("size", [3, 8, 20])
@pytest.mark.parametrize(("kv_heads", "group"), [(1, 1), (3, 1), (2, 2)])
def test_sums_over_the_heads_of_a_group(kv_heads, group, size):
    random = np.random.default_rng(0)
    heads = kv_heads * group
    table, weights = random.standard_normal((20, heads, size)), random.standard_normal((30, heads))
    nodes, edges = random.permutation(20)[:8], random.integers(0, 29, 8)
    y = random.standard_normal(2 + kv_heads * size)
    wanted = y.copy()
    chosen = weights.reshape(-1)[(edges * heads + 1)[:, None] + np.arange(heads)]
    wanted[2:] += np.einsum("eh,ehc->hc", chosen, table[nodes]).reshape(kv_heads, group, size).sum(1).ravel()
    to_groups(weights.ravel(), edges * heads, table.ravel(), nodes * heads * size, y, kv_heads, group, size)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
