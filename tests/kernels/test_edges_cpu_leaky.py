"""LeakyReLU of a sum without hidden vectors, against NumPy in float64."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_leaky import add_by_signs, add_leaky_gradients, leaky_rows, signs_of
from graphattn.kernels.vectors import lanes_at, put_lanes

SIZES = pytest.mark.parametrize("size", [1, 7, 8, 19, 32])


@njit
def scores_of(vector, q, table, places, size, result):
    put_lanes(leaky_rows(vector, 1, q, 2, table, places, 0, 3, size), result, 0)


@njit
def back(grads, vector, q, table, places, size, grad_q, grad_vector, bits, bit_places):
    add_leaky_gradients(
        grads, 0, vector, 1, q, 2, table, places, 0, 3, size, grad_q, 1, grad_vector, 2, bits, bit_places, 1
    )


@njit
def back_to_keys(grads, grad_places, bits, bit_places, vector, y, size):
    add_by_signs(grads, grad_places, 2, bits, bit_places, 1, 0, vector, 1, y, 3, size)


@njit
def byte_of(x):
    return signs_of(lanes_at(x, 0))


def problem(size):
    random = np.random.default_rng(size)
    vector, q, grads, before = random.standard_normal((4, 60))
    table, places = random.standard_normal(300), random.integers(0, 250, 8)
    table[places[0] + 3] = -q[2]  # a hidden number that is 0
    rows = np.stack([table[place + 3 : place + 3 + size] for place in places])
    hidden = rows + q[2 : 2 + size]
    return vector, q, table, places, grads, before, hidden, np.where(hidden > 0, 1, 0.2)


@SIZES
def test_scores(size):
    vector, q, table, places, _, _, hidden, slope = problem(size)
    result = np.empty(8)
    scores_of(vector, q, table, places, size, result)
    np.testing.assert_allclose(result, (slope * hidden) @ vector[1 : 1 + size], rtol=1e-12, atol=1e-12)


@SIZES
def test_gradients_on_both_sides(size):
    vector, q, table, places, grads, before, hidden, slope = problem(size)
    assert (hidden == 0).any()
    step = (size + 7) // 8
    bits, bit_places = np.full(1 + 8 * step, 255, np.uint8), np.random.default_rng(0).permutation(8) * step
    grad_q, grad_vector = before.copy(), before.copy()
    back(grads, vector, q, table, places, size, grad_q, grad_vector, bits, bit_places)
    wanted_q, wanted_vector = before.copy(), before.copy()
    wanted_q[1 : 1 + size] += vector[1 : 1 + size] * (grads[:8] @ slope)
    wanted_vector[2 : 2 + size] += grads[:8] @ (slope * hidden)
    np.testing.assert_allclose(grad_q, wanted_q, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_vector, wanted_vector, rtol=1e-12, atol=1e-12)
    written = np.unpackbits(bits[1:].reshape(8, step)[bit_places // step], axis=1, bitorder="little")[:, :size]
    assert (written == (hidden > 0)).all()

    grad_places, y = np.array([5, 3, 0, 40, 7, 7, 1, 2]), before.copy()
    back_to_keys(grads, grad_places, bits, bit_places, vector, y, size)
    wanted = before.copy()
    wanted[3 : 3 + size] += vector[1 : 1 + size] * (grads[grad_places + 2] @ slope)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


def test_signs_of_eight():
    assert byte_of(np.array([1.0, 0.0, -1.0, np.inf, np.nan, -np.inf, 2.0, -0.0])) == 0b01001001
