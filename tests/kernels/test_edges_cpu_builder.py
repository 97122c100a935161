"""Loops and sums that are written in LLVM's language, against NumPy."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_builder import Builder, address_of, of_addresses
from graphattn.kernels.vectors import INT64, spread, store

SIZES = pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 23, 40])


@of_addresses
def write_twice(b: Builder, to, x, more, size):
    """to = 2 x, + more where there is one."""

    def write(part):
        twice = b.add(part.load(x), part.load(x))
        part.store(twice if more is None else b.add(twice, spread(b.ir, more)), to)

    b.each_part(size, write)


@njit
def twice(to, x, size):
    write_twice(address_of(to, 1), x, None, size)


@njit
def twice_and_more(to, x, more, size):
    write_twice(to, address_of(x, 1), more, size)


@SIZES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_cover_a_vector_and_nothing_else(dtype, size):
    x = np.random.default_rng(size).standard_normal(size + 1).astype(dtype)
    to = np.full(size + 20, 9, dtype)
    twice(to, x[1:].copy(), size)
    np.testing.assert_array_equal(to, np.concatenate([[9], 2 * x[1:], [9] * 19]))
    twice_and_more(to, x, dtype(4), size)
    np.testing.assert_array_equal(to[:size], 2 * x[1:] + 4)


@of_addresses
def write_heads(b: Builder, to, heads, group, size):
    with b.each_head(heads, group, size) as head:
        numbers = head.number, head.at, head.group_at, b.ir.zext(head.is_first, head.number.type)
        row = b.ir.gep(to, [b.ir.mul(head.number, INT64(4))])
        for i, number in enumerate(numbers):
            b.ir.store(number, b.ir.gep(row, [INT64(i)]))


@njit
def heads_of(to, heads, group, size):
    write_heads(to, heads, group, size)


@pytest.mark.parametrize("size", [0, 5])
@pytest.mark.parametrize(("heads", "group"), [(0, 1), (1, 1), (3, 1), (6, 3), (6, 2), (4, 4)])
def test_heads_of_a_group_share_a_place(heads, group, size):
    to = np.full((heads + 1, 4), -1)
    heads_of(to.reshape(-1), heads, group, size)
    assert to[:-1].tolist() == [[h, h * size, h // group * size, h % group == 0] for h in range(heads)]
    assert (to[-1] == -1).all()


@of_addresses
def write_sums(b: Builder, to, table, places, size):
    """Sums of squares of eight rows, from number 1 of each on."""
    products = b.sums_of_rows(b.rows(table, places), INT64(1), size, lambda part: lambda row: (row, row))
    store(b.ir, products, to)


@njit
def sums_of(to, table, places, size):
    write_sums(to, table, places, size)


@SIZES
def test_sums_of_rows(size):
    random = np.random.default_rng(size)
    table, places, to = random.standard_normal(200), random.integers(0, 150, 8), np.empty(8)
    sums_of(to, table, places, size)
    np.testing.assert_allclose(to, [(table[p + 1 : p + 1 + size] ** 2).sum() for p in places], rtol=1e-12)


@of_addresses
def write_range(b: Builder, to, start, stop, step):
    with b.each(start, stop, step) as index:
        b.ir.store(index, b.ir.gep(to, [index]))


@njit
def range_of(to, start, stop, step):
    write_range(to, start, stop, step)


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 0, 1), (3, 2, 1), (0, 20, 1), (1, 20, 8), (0, 16, 8)])
def test_loops_are_those_of_range(start, stop, step):
    to = np.full(20, -1)
    range_of(to, start, stop, step)
    assert to[to >= 0].tolist() == list(range(start, stop, step))
