"""The compiled pieces against matrix products of NumPy in float64."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_additive import (
    add_hidden,
    edge_weight_gradient,
    feature_gradients,
    fill_hidden,
    to_gradients,
    write_signs,
)

SHAPES = pytest.mark.parametrize(
    ("kv_heads", "group", "dim"), [(1, 1, 3), (2, 1, 8), (2, 2, 5), (4, 2, 16), (1, 1, 67)]
)
ACTIVATIONS = pytest.mark.parametrize("activation", [0, 1])
EDGE_DIM = 3


@njit
def hidden_of(hidden, query, key, places, group, x, x_places, edge_weight, activation, heads, dim, edge_dim):
    fill_hidden(hidden, query, 0, 1, key, places, group, x, x_places, 0, edge_weight, activation, heads, dim, edge_dim)


@njit
def gradients_of(hidden, grads, vector, grad_vector, bits, heads, dim, activation):
    write_signs(hidden, bits, 0, 8, heads, dim)
    to_gradients(hidden, grads, vector, grad_vector, heads, dim, activation)


@njit
def back(hidden, count, x, x_places, edge_weight, grad_weight, grad_x, grad_k, kv_heads, group, dim, edge_dim):
    width = kv_heads * group * dim
    features = np.empty(8 * edge_dim)
    add_hidden(hidden, count, grad_k, 0, kv_heads, group, dim)
    edge_weight_gradient(hidden, x, x_places, features, grad_weight, width, edge_dim)
    places = np.arange(8) * width
    feature_gradients(hidden, places, edge_weight, grad_x, x_places, count, width, edge_dim, features)


def draw(*shapes):
    random = np.random.default_rng(0)
    return [random.standard_normal(shape) for shape in shapes]


@ACTIVATIONS
@SHAPES
def test_hidden_vectors(kv_heads, group, dim, activation):
    heads, width = kv_heads * group, kv_heads * group * dim
    query, key, weight, x = draw((kv_heads, group, dim), (20, kv_heads, 1, dim), (EDGE_DIM, width), (30, EDGE_DIM))
    rows, edges = np.random.default_rng(1).integers(0, 20, (2, 8))
    hidden = np.empty(8 * width)
    flat = [array.ravel() for array in (query, key, weight, x)]
    places = rows * kv_heads * dim, edges * EDGE_DIM
    hidden_of(hidden, flat[0], flat[1], places[0], group, flat[3], places[1], flat[2], activation, heads, dim, EDGE_DIM)
    wanted = (query + key[rows]).reshape(8, width) + x[edges] @ weight
    wanted = np.tanh(wanted) if activation == 0 else np.where(wanted > 0, wanted, 0.2 * wanted)
    np.testing.assert_allclose(hidden.reshape(8, width), wanted, rtol=1e-12, atol=1e-12)


@ACTIVATIONS
@pytest.mark.parametrize("dim", [5, 8, 11])
def test_gradients_before_the_activation(activation, dim, heads=2):
    before, vector, grad_vector, grads = draw((8, heads, dim), (heads, dim), (heads, dim), (heads, 8))
    before[3, 1, 2] = 0
    after = np.tanh(before) if activation == 0 else np.where(before > 0, before, 0.2 * before)
    slope = 1 - after**2 if activation == 0 else np.where(before > 0, 1, 0.2)
    by_edge = grads.T[..., None]
    wanted = by_edge * vector * slope, grad_vector + (by_edge * after).sum(0)
    bits = np.empty(8 * heads * ((dim + 7) // 8), np.uint8)
    gradients_of(
        after.reshape(-1), grads.ravel(), vector.ravel(), grad_vector.reshape(-1), bits, heads, dim, activation
    )
    np.testing.assert_allclose(after, wanted[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_vector, wanted[1], rtol=1e-12, atol=1e-12)
    assert (np.unpackbits(bits.reshape(8, heads, -1), axis=2, bitorder="little")[..., :dim] == (before > 0)).all()


@pytest.mark.parametrize("count", [3, 8])
@SHAPES
def test_what_flows_back_from_hidden_vectors(kv_heads, group, dim, count):
    width = kv_heads * group * dim
    shapes = (8, width), (30, EDGE_DIM), (EDGE_DIM, width), (EDGE_DIM, width), (30, EDGE_DIM), (kv_heads, dim)
    hidden, x, weight, grad_weight, grad_x, grad_k = draw(*shapes)  # gradients are added to
    hidden[count:] = 0
    edges = np.random.default_rng(1).permutation(30)[:8]
    wanted_x = grad_x.copy()
    wanted_x[edges] += hidden @ weight.T
    wanted_k = grad_k + hidden.reshape(8, kv_heads, group, dim).sum((0, 2))
    wanted_weight = grad_weight + x[edges].T @ hidden
    flat = [array.reshape(-1) for array in (hidden, x, weight, grad_weight, grad_x, grad_k)]
    back(flat[0], count, flat[1], edges * EDGE_DIM, *flat[2:], kv_heads, group, dim, EDGE_DIM)
    for found, wanted in ((grad_weight, wanted_weight), (grad_x, wanted_x), (grad_k, wanted_k)):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
