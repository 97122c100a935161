"""LeakyReLU of a sum without hidden vectors, against NumPy in float64."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.edges_cpu_leaky import add_heads_by_signs, add_leaky_heads, leaky_heads, signs_of
from graphattn.kernels.vectors import lanes_at

SIZES = pytest.mark.parametrize("size", [1, 7, 8, 19, 32])
GROUPS = pytest.mark.parametrize(("kv_heads", "group"), [(1, 1), (3, 1), (2, 2)])


@njit
def scores_of(vector, q, table, places, heads, group, size, to):
    leaky_heads(address_of(to, 2), 9, vector, q, table, places, places, heads, group, size, 0.7)


@njit
def back(grads, vector, q, table, places, grad_q, grad_vector, bits, bit_places, heads, group, size):
    bits = address_of(bits, 1)
    add_leaky_heads(grads, vector, q, table, places, grad_q, grad_vector, bits, bit_places, heads, group, size)


@njit
def back_to_keys(grads, grad_places, bits, bit_places, vector, y, heads, group, size):
    bits = address_of(bits, 1)
    add_heads_by_signs(grads, grad_places, bits, bit_places, vector, address_of(y, 3), heads, group, size)


@njit
def byte_of(x):
    return signs_of(lanes_at(x, 0))


def problem(kv_heads, group, size):
    """A vector, a query, eight rows of a table, and their hidden numbers [8, heads, size] with their slopes."""
    random = np.random.default_rng(size)
    heads = kv_heads * group
    vector, q, before = random.standard_normal((3, heads, size))
    table, nodes = random.standard_normal((20, kv_heads, size)), random.integers(0, 20, 8)
    table[nodes[0], 0, 0] = -q[0, 0]  # a hidden number that is 0
    hidden = q + table[nodes].repeat(group, 1)
    assert (hidden == 0).any()
    return vector, q, table, nodes * kv_heads * size, before, hidden, np.where(hidden > 0, 1, 0.2)


@GROUPS
@SIZES
def test_scores(kv_heads, group, size):
    vector, q, table, places, _, hidden, slope = problem(kv_heads, group, size)
    heads = kv_heads * group
    to = np.full(heads * 9 + 2, 9.0)
    wanted = to.copy()
    for h in range(heads):
        wanted[2 + h * 9 : 10 + h * 9] = 0.7 * (slope * hidden)[:, h] @ vector[h]
    scores_of(vector.ravel(), q.ravel(), table.ravel(), places, heads, group, size, to)
    np.testing.assert_allclose(to, wanted, rtol=1e-12, atol=1e-12)


@GROUPS
@SIZES
def test_gradients_on_both_sides(kv_heads, group, size):
    vector, q, table, places, before, hidden, slope = problem(kv_heads, group, size)
    heads, step = kv_heads * group, kv_heads * group * -(-size // 8)
    random = np.random.default_rng(0)
    grads = random.standard_normal((heads, 8))
    bits, bit_places = np.full(1 + 8 * step, 255, np.uint8), random.permutation(8) * step
    grad_q, grad_vector = before.copy(), before.copy()
    given = [x.reshape(-1) for x in (grads, vector, q, table)]
    back(*given, places, grad_q.reshape(-1), grad_vector.reshape(-1), bits, bit_places, heads, group, size)
    by_edge = grads.T[..., None]
    np.testing.assert_allclose(grad_q, before + (by_edge * slope).sum(0) * vector, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_vector, before + (by_edge * slope * hidden).sum(0), rtol=1e-12, atol=1e-12)
    written = np.unpackbits(bits[1:].reshape(8, heads, -1)[bit_places // step], axis=2, bitorder="little")
    assert (written[..., :size] == (hidden > 0)).all()

    handed_on, grad_places = random.standard_normal((9, heads)), np.array([5, 3, 0, 8, 7, 7, 1, 2])
    y = random.standard_normal(3 + kv_heads * size + 2)
    wanted = y.copy()
    total = vector * (handed_on[grad_places, :, None] * slope).sum(0)
    wanted[3:-2] += total.reshape(kv_heads, group, size).sum(1).ravel()
    places_of_grads = grad_places * heads
    back_to_keys(handed_on.ravel(), places_of_grads, bits, bit_places, vector.ravel(), y, heads, group, size)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


def test_signs_of_eight():
    assert byte_of(np.array([1.0, 0.0, -1.0, np.inf, np.nan, -np.inf, 2.0, -0.0])) == 0b01001001
