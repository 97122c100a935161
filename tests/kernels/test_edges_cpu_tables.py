"""Sums over eight rows against NumPy, for heads of any size at any place."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.edges_cpu_tables import (
    add_heads,
    add_heads_by_places,
    dot_heads,
    find_places,
    prefetch_rows,
    put_places,
    set_heads,
)

SIZES = pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 23, 40])
DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
GROUPS = pytest.mark.parametrize(("kv_heads", "group"), [(1, 1), (3, 1), (2, 2)])


@njit
def dots(to, a, table, places, heads, group, size, scale):
    to, coming = address_of(to, 2), address_of(places, 8)
    dot_heads(to, 9, a, table, places, coming, heads, group, size, scale, False)
    dot_heads(to, 9, a, table, places, None, heads, group, size, scale + scale, True)


@njit
def combine(weights, table, places, y, heads, group, size):
    add_heads(address_of(weights, 2), 9, table, places, address_of(places, 8), address_of(y, 3), heads, group, size)
    add_heads(address_of(weights, 2), 9, table, places, None, address_of(y, 3), heads, group, size)


@njit
def combine_by_places(weights, weight_places, table, places, y, heads, group, size):
    prefetch_rows(table, places, size)
    weights, y, coming = address_of(weights, 1), address_of(y, 3), address_of(places, 8)
    add_heads_by_places(weights, weight_places, table, places, coming, y, heads, group, size)


@njit
def set_twice(factors, x, table, places, heads, group, size):
    set_heads(factors, x, True, table, places, heads, group, size)
    set_heads(factors, x, False, table, places, heads, group, size)


@njit
def set_once(factors, x, table, places):
    set_heads(factors, x, True, table, places, 1, 1, 3)


def draw(kv_heads, size, dtype):
    """A table [20, kv_heads, size] in which no row is the last one, and the nodes of sixteen rows."""
    random = np.random.default_rng(size)
    table = random.standard_normal((20, kv_heads, size)).astype(dtype)
    return random, table, random.integers(0, 19, 16)


@GROUPS
@SIZES
@DTYPES
def test_dot_products(kv_heads, group, size, dtype, tolerance):
    random, table, nodes = draw(kv_heads, size, dtype)
    heads = kv_heads * group
    a, to = random.standard_normal((heads, size)).astype(dtype), np.full(heads * 9 + 2, 9, dtype)
    wanted = to.copy()
    for h in range(heads):
        wanted[2 + h * 9 : 10 + h * 9] = 1.5 * table[nodes[:8], h // group] @ a[h]
    dots(to, a.ravel(), table.ravel(), nodes * kv_heads * size, heads, group, size, dtype(0.5))
    np.testing.assert_allclose(to, wanted, rtol=tolerance, atol=tolerance)


@GROUPS
@SIZES
@DTYPES
def test_weighted_sums_touch_nothing_else(kv_heads, group, size, dtype, tolerance):
    random, table, nodes = draw(kv_heads, size, dtype)
    heads = kv_heads * group
    weights, y = (
        random.standard_normal(heads * 9 + 2).astype(dtype),
        random.standard_normal(heads * size + 5).astype(dtype),
    )
    wanted = y.copy()
    for h in range(heads):
        wanted[3 + h * size : 3 + (h + 1) * size] += 2 * weights[2 + h * 9 : 10 + h * 9] @ table[nodes[:8], h // group]
    combine(weights, table.ravel(), nodes * kv_heads * size, y, heads, group, size)
    np.testing.assert_allclose(y, wanted, rtol=tolerance, atol=tolerance)


@GROUPS
@SIZES
@DTYPES
def test_sums_over_the_heads_of_a_group(kv_heads, group, size, dtype, tolerance):
    heads = kv_heads * group
    random, table, nodes = draw(heads, size, dtype)
    weights, edges = random.standard_normal(30 * heads + 1).astype(dtype), random.integers(0, 29, 8)
    y = random.standard_normal(kv_heads * size + 5).astype(dtype)
    wanted = y.copy()
    chosen = weights[1:].reshape(30, heads)[edges]
    products = np.einsum("eh,ehc->hc", chosen, table[nodes[:8]])
    wanted[3:-2] += products.reshape(kv_heads, group, size).sum(1).ravel()
    combine_by_places(weights, edges * heads, table.ravel(), nodes * heads * size, y, heads, group, size)
    np.testing.assert_allclose(y, wanted, rtol=tolerance, atol=tolerance)


@GROUPS
@SIZES
def test_rows_are_set_and_then_added_to(kv_heads, group, size):
    random = np.random.default_rng(0)
    heads = kv_heads * group
    factors, x = random.standard_normal((heads, 8)), random.standard_normal((heads, size))
    table, nodes = np.full((20, kv_heads, size), np.nan), random.permutation(20)[:8]
    wanted = table.copy()
    outer = np.einsum("gje,gjc->egc", factors.reshape(kv_heads, group, 8), x.reshape(kv_heads, group, size))
    wanted[nodes] = 2 * outer
    set_twice(factors.ravel(), x.ravel(), table.reshape(-1), nodes * kv_heads * size, heads, group, size)
    np.testing.assert_allclose(table, wanted, rtol=1e-12, atol=1e-12)


def test_of_equal_rows_the_first_lane_is_kept():
    table, factors = np.zeros(3), np.arange(1.0, 9.0)
    set_once(factors, np.ones(3), table, np.zeros(8, np.int64))
    assert (table == 1).all()


@njit
def places_of(places, nodes, start, count):
    find_places(places, 1, nodes, start, count, 3)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("start", [0, 3, 30])
@pytest.mark.parametrize("count", [1, 7, 8, 12])
def test_places_of_eight_edges_and_of_those_that_follow(count, start, dtype):
    nodes = np.random.default_rng(count).integers(0, 2**31, start + count + 9).astype(dtype)
    for end in (nodes.size, start + count + 2, start + count):  # more than eight follow, two, none
        places = np.full(18, -1)
        places_of(places, nodes[:end], start, count)
        here = [start + min(lane, count - 1) for lane in range(8)]
        coming = [min(start + min(count, 8) + lane, end - 1) for lane in range(8)]
        np.testing.assert_array_equal(places, [-1, *3 * nodes[here + coming].astype(np.int64), -1])


@njit
def put_both(places, nodes):
    put_places(places, 0, nodes, 2, 3, 9, 5)
    put_places(places, 8, None, 2, 3, 9, 5)


def test_places_of_lanes_that_are_left():
    places = np.empty(16, np.int64)
    put_both(places, np.array([0, 0, 7, 4, 1, 6], np.int32))
    assert places.tolist() == [35, 20, 5, *[45] * 5, 10, 15, 20, *[45] * 5]
