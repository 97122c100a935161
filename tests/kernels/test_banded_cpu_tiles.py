"""Products of a tile against NumPy, for any numbers of channels and rows."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.banded_cpu_tiles import (
    ROWS,
    TILE,
    add_by_distance,
    add_rows,
    copy_rows,
    dot_rows,
    from_lanes,
    room_for,
    to_lanes,
)
from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.vectors import WIDE

SIZES = pytest.mark.parametrize("size", [0, 1, 3, WIDE - 1, WIDE, WIDE + 1, 40])
COUNTS = pytest.mark.parametrize("count", [1, 2, ROWS - 1, ROWS, ROWS + 1, 30])


@njit
def room(channels):
    return room_for(channels)


@njit
def dot(to, rows, size, count, lanes, scale, added, is_added):
    dot_rows(to, rows, size, count, lanes, scale, address_of(added, count + ROWS), is_added)


@njit
def add(lanes, rows, size, count, weights):
    add_rows(lanes, rows, size, count, weights, None)


@njit
def add_and_shrink(lanes, rows, size, count, weights, shrink):
    add_rows(lanes, rows, size, count, weights, shrink)


@njit
def copy(to, table, step, size, count, sign):
    copy_rows(to, table, step, size, count, sign)


@njit
def there_and_back(lanes, table, step, size, count, result, factor):
    to_lanes(lanes, table, step, size, count)
    from_lanes(result, step, size, count, lanes, factor)


@njit
def by_distance(to, numbers, count):
    add_by_distance(address_of(to, count), numbers, count)


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def tile_of(numbers):
    """[channels, TILE] with the room that a tile has."""
    lanes = np.full(room(len(numbers)), np.nan, np.float32)
    lanes[: numbers.size] = numbers.ravel()
    return lanes


def padded(rows):
    """Rows side by side and room for ROWS more."""
    return np.append(rows.ravel(), np.full(ROWS * rows.shape[1], np.nan, np.float32))


@SIZES
@COUNTS
@pytest.mark.parametrize("is_added", [False, True])
def test_dot_rows(size, count, is_added):
    rows, lanes, to = draw(count, size), draw(size, TILE), np.zeros((count + ROWS, TILE), np.float32)
    added = draw(count + 2 * ROWS + TILE)
    dot(to.ravel(), padded(rows), size, count, tile_of(lanes), np.float32(0.3), added, is_added)
    wanted = np.float32(0.3) * (rows @ lanes)
    if is_added:
        wanted += added[count + ROWS + np.arange(TILE) - np.arange(count)[:, None]]
    np.testing.assert_allclose(to[:count], wanted, rtol=1e-5, atol=1e-5)


@SIZES
@COUNTS
@pytest.mark.parametrize("shrinks", [False, True])
def test_add_rows(size, count, shrinks):
    rows, weights, before, shrink = draw(count, size), draw(count, TILE), draw(size, TILE), draw(TILE)
    lanes = tile_of(before)
    if shrinks:
        add_and_shrink(lanes, padded(rows), size, count, weights.ravel(), shrink)
    else:
        add(lanes, padded(rows), size, count, weights.ravel())
    wanted = before * (shrink if shrinks else 1) + rows.T @ weights
    np.testing.assert_allclose(lanes[: wanted.size].reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)


@SIZES
@pytest.mark.parametrize("count", [1, WIDE - 1, WIDE, TILE - 1, TILE])
def test_to_lanes_and_back(size, count):
    step = size + 5
    table, result, lanes = draw(count, step), np.full((count, step), 7, np.float32), np.empty(room(size), np.float32)
    factor = np.linspace(1, 2, TILE, dtype=np.float32)
    there_and_back(lanes, table.ravel(), step, size, count, result.ravel(), factor)
    found = lanes[: size * TILE].reshape(size, TILE)
    assert np.array_equal(found[:, :count], table[:, :size].T)
    assert np.array_equal(found[:, count:], np.repeat(table[-1:, :size].T, TILE - count, axis=1))
    np.testing.assert_allclose(result[:, :size], table[:, :size] * factor[:count, None], rtol=1e-6)
    assert (result[:, size:] == 7).all()  # nothing is written beside the rows


@SIZES
def test_copy_rows(size):
    table, to, sign = draw(6, size + 3), np.empty(6 * size, np.float32), np.zeros(WIDE, np.float32)
    copy(to, table.ravel(), size + 3, size, 6, sign)
    assert np.array_equal(to.reshape(6, size), table[:, :size])
    assert (sign == 0).all()
    table[:, size:] = np.nan  # beside the rows
    copy(to, table.ravel(), size + 3, size, 6, sign)
    assert (sign == 0).all()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, WIDE, 2 * WIDE + 1])
def test_copy_rows_looks_for_what_is_not_finite(number, place):
    size = 2 * WIDE + 3
    table, to, sign = draw(6, size), np.empty(6 * size, np.float32), np.zeros(WIDE, np.float32)
    table[4, place] = number
    copy(to, table.ravel(), size, size, 6, sign)
    assert np.isnan(sign).any()


@COUNTS
def test_add_by_distance(count):
    numbers = draw(count, TILE)
    before = draw(count + TILE)
    to, wanted = before.copy(), before.copy()
    by_distance(to, numbers.ravel(), count)
    for r in range(count):
        wanted[count - r : count - r + TILE] += numbers[r]
    np.testing.assert_allclose(to, wanted, rtol=1e-5, atol=1e-5)
