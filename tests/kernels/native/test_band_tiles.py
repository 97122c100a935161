"""Products of a tile against NumPy, for any numbers of channels and rows, for registers of every width that runs here."""

import ctypes
import platform
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from graphattn.kernels.native import build
from graphattn.kernels.native.library import level, why_not_native

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="no compiled loops here")
LEVELS = build.X86_LEVELS if platform.machine() == "x86_64" else {"": []}
SIZES = pytest.mark.parametrize("size", [0, 1, 3, 7, 8, 9, 15, 16, 17, 40])
COUNTS = 1, 2, 3, 4, 5, 7, 8, 9, 30
UNTOUCHED = 7


class Tiles:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.wide, self.vectors, self.rows = (ctypes.c_int64 * 3).in_dll(self.c, "sizes")
        self.tile = self.wide * self.vectors
        self.c.room.restype, self.c.room.argtypes = ctypes.c_int64, [ctypes.c_int64]

    def call(self, name, *arguments):
        converted = []
        for x in arguments:
            if isinstance(x, np.ndarray):
                assert x.dtype == np.float32 and x.flags.c_contiguous
                converted.append(ctypes.c_void_p(x.ctypes.data))
            elif isinstance(x, float):
                converted.append(ctypes.c_float(x))
            else:
                converted.append(x if x is None else ctypes.c_int64(x))
        getattr(self.c, name)(*converted)

    def tile_of(self, numbers):
        """[channels, TILE] with the room that a tile has."""
        lanes = np.full(self.c.room(len(numbers)), np.nan, np.float32)
        lanes[: numbers.size] = numbers.ravel()
        return lanes

    def padded(self, rows):
        """Rows side by side and room for ROWS more."""
        return np.append(rows.ravel(), np.full(self.rows * rows.shape[1], np.nan, np.float32))


@pytest.fixture(scope="module", params=LEVELS)
def tiles(request, tmp_path_factory):
    if request.param > level():
        pytest.skip("this processor has no such registers")
    if build.installed_compiler() is None:
        pytest.skip("there is no C compiler here")
    path = tmp_path_factory.mktemp("tiles") / "tiles.so"
    source = Path(__file__).with_name("band_tiles_exported.c")
    flags = [*build.FLAGS, *LEVELS[request.param], "-Werror", "-fPIC", "-shared", f"-I{build.HERE}"]
    subprocess.run([*build.installed_compiler(), *flags, str(source), "-o", str(path), "-lm"], check=True)
    return Tiles(path)


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def vector_counts(tiles):
    return range(1, tiles.vectors + 1)


@SIZES
@pytest.mark.parametrize("is_added", [False, True])
def test_dot_rows(tiles, size, is_added):
    for count, vectors in product(COUNTS, vector_counts(tiles)):
        check_dot_rows(tiles, size, count, vectors, is_added)


def check_dot_rows(tiles, size, count, vectors, is_added):
    rows, lanes, start = draw(count, size), draw(size, tiles.tile), count + tiles.rows
    added = draw(start + tiles.rows + tiles.tile)
    wanted = rows @ lanes
    if is_added:
        wanted += added[start + np.arange(tiles.tile) - np.arange(count)[:, None]]
    to, stop = np.full((count + tiles.rows, tiles.tile), UNTOUCHED, np.float32), vectors * tiles.wide
    where = added[start:] if is_added else None
    tiles.call("dot", vectors, to, tiles.padded(rows), size, count, tiles.tile_of(lanes), where)
    np.testing.assert_allclose(to[:count, :stop], wanted[:, :stop], rtol=1e-5, atol=1e-5)
    assert (to[:, stop:] == UNTOUCHED).all()


@SIZES
@pytest.mark.parametrize("shrinks", [False, True])
def test_add_rows(tiles, size, shrinks):
    for count, vectors in product(COUNTS, vector_counts(tiles)):
        check_add_rows(tiles, size, count, vectors, shrinks)


def check_add_rows(tiles, size, count, vectors, shrinks):
    rows, weights, before, shrink = draw(count, size), draw(count, tiles.tile), draw(size, tiles.tile), draw(tiles.tile)
    wanted = before * (shrink if shrinks else 1) + rows.T @ weights
    lanes, stop = tiles.tile_of(before), vectors * tiles.wide
    tiles.call("add", vectors, lanes, tiles.padded(rows), size, count, weights, shrink if shrinks else None)
    found = lanes[: wanted.size].reshape(wanted.shape)
    np.testing.assert_allclose(found[:, :stop], wanted[:, :stop], rtol=1e-5, atol=1e-5)
    assert np.array_equal(found[:, stop:], before[:, stop:])


@pytest.mark.parametrize("vectors", [0, 1, 2, 3, 5])
def test_add_lanes(tiles, vectors):
    size = vectors * tiles.wide
    for count, num_lanes in product(COUNTS, (1, tiles.wide + 1, tiles.tile)):
        weights = np.full((count + tiles.rows, tiles.tile), np.nan, np.float32)
        weights[:count] = draw(count, tiles.tile)
        rows, before = draw(num_lanes, size), draw(count, size)
        to = before.copy()
        tiles.call("add_of_lanes", to, size, count, weights, rows, num_lanes)
        np.testing.assert_allclose(to, before + weights[:count, :num_lanes] @ rows, rtol=1e-5, atol=1e-5)


@SIZES
def test_to_lanes_and_back(tiles, size):
    for count in (1, 7, 8, tiles.tile - 1, tiles.tile):
        step = size + 5
        table, result = draw(count, step), np.full((count, step), UNTOUCHED, np.float32)
        lanes, factor = (
            tiles.tile_of(np.empty((size, tiles.tile), np.float32)),
            np.linspace(1, 2, tiles.tile, dtype=np.float32),
        )
        tiles.call("put", lanes, table, step, size, count, 0.5)
        tiles.call("take", result, step, size, count, lanes, factor)
        found = lanes[: size * tiles.tile].reshape(size, tiles.tile) * 2
        assert np.array_equal(found[:, :count], table[:, :size].T)
        assert np.array_equal(found[:, count:], np.repeat(table[-1:, :size].T, tiles.tile - count, axis=1))
        np.testing.assert_allclose(result[:, :size], table[:, :size] * factor[:count, None] / 2, rtol=1e-6)
        assert (result[:, size:] == UNTOUCHED).all()  # nothing is written beside the rows


@SIZES
def test_copy_rows(tiles, size):
    table, sign = draw(6, size + 3), np.empty(tiles.wide, np.float32)
    table[:, size:] = np.nan  # beside the rows
    to = np.full((6, size + 2), UNTOUCHED, np.float32)
    tiles.call("copy", to, size + 2, table, size + 3, size, 6, 0.5, sign)
    assert np.array_equal(to[:, :size] * 2, table[:, :size]) and (to[:, size:] == UNTOUCHED).all()
    assert (sign == 0).all()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 16, 34])
def test_copy_rows_looks_for_what_is_not_finite(tiles, number, place):
    size = 35
    table, to, sign = draw(6, size), np.empty(6 * size, np.float32), np.empty(tiles.wide, np.float32)
    table[4, place] = number
    tiles.call("copy", to, size, table, size, size, 6, 1.0, sign)
    assert np.isnan(sign).any()


def test_add_by_distance(tiles):
    for count, num_lanes in product(COUNTS, (1, tiles.tile - 1, tiles.tile)):
        numbers, before = draw(count, tiles.tile), draw(count + tiles.tile)
        to, wanted = before.copy(), before.copy()
        tiles.call("by_distance", to[count:], numbers, num_lanes, count)
        for r in range(count):
            wanted[count - r : count - r + num_lanes] += numbers[r, :num_lanes]
        np.testing.assert_allclose(to, wanted, rtol=1e-5, atol=1e-5)


def test_exponentials(tiles):
    x = np.linspace(-87, 2, 2**20, dtype=np.float32)
    found = x.copy()
    tiles.call("exponentials_of", found, x.size)
    assert (np.abs(found / np.exp(x.astype(np.float64)) - 1) < 2e-7 + 1e-7 * np.abs(x)).all()
    x = np.array([0, -88, -1000, -3e38, -np.inf, 89, np.nan, -np.nan] * 2, np.float32)
    x.view(np.uint32)[-1] |= 1  # a NaN with a number in it
    tiles.call("exponentials_of", x, x.size)
    assert np.array_equal(x[:6], [1, 0, 0, 0, 0, np.inf]) and np.isnan(x[6:8]).all() and np.isnan(x[14:]).all()
