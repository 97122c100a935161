"""The compiled pieces against matrix products of NumPy in float64."""

import numpy as np
import pytest
from numba import njit

from graphattn.kernels.edges_cpu_additive import add_edge, add_pair, edge_weight_gradient, feature_gradient, to_gradient


@njit
def hidden_of(hidden, query, key, kv_heads, group, dim, edge_weight, features, edge_dim):
    width = kv_heads * group * dim
    for e in range(hidden.size // width):
        add_pair(hidden, e * width, query, 0, key, e * kv_heads * dim, kv_heads, group, dim)
        add_edge(hidden, e * width, edge_weight, features, e * edge_dim, width, edge_dim)


@njit
def back(hidden, features, edge_weight, grad_weight, grad_features, count, width, edge_dim):
    edge_weight_gradient(hidden, features, grad_weight, count, width, edge_dim)
    for e in range(count):
        feature_gradient(hidden, e * width, edge_weight, grad_features, e * edge_dim, width, edge_dim)


@njit
def gradient_before_activation(hidden, grad_scores, vector, grad_vector, heads, dim, activation):
    to_gradient(hidden, 0, grad_scores, 0, vector, grad_vector, heads, dim, activation)


def draw(random, dtype, *shapes):
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize(("kv_heads", "group", "dim"), [(1, 1, 3), (2, 1, 4), (2, 2, 5), (4, 2, 16), (1, 1, 67)])
def test_hidden_vectors_and_what_flows_back_from_them(kv_heads, group, dim, edge_dim=3, count=7):
    random = np.random.default_rng(0)
    width = kv_heads * group * dim
    shapes = (kv_heads, group, dim), (count, kv_heads, 1, dim), (edge_dim, width), (count, edge_dim)
    query, key, weight, features = draw(random, np.float64, *shapes)
    hidden = np.empty(count * width)
    hidden_of(
        hidden, *(x.ravel() for x in (query, key)), kv_heads, group, dim, weight.ravel(), features.ravel(), edge_dim
    )
    wanted = (query + key).reshape(count, width) + features @ weight
    np.testing.assert_allclose(hidden.reshape(count, width), wanted, rtol=1e-12, atol=1e-12)

    grad_weight, grad_features = draw(random, np.float64, weight.shape, features.shape)  # they are added to
    wanted = grad_weight + features.T @ wanted, grad_features + wanted @ weight.T
    back(hidden, features.ravel(), weight.ravel(), grad_weight.ravel(), grad_features.ravel(), count, width, edge_dim)
    np.testing.assert_allclose(grad_weight, wanted[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_features, wanted[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", [0, 1])
def test_gradient_before_the_activation(activation, heads=2, dim=5):
    random = np.random.default_rng(1)
    before, vector, grad_vector = draw(random, np.float64, *[(heads, dim)] * 3)
    (grad,) = draw(random, np.float64, (heads,))
    after = np.tanh(before) if activation == 0 else np.where(before >= 0, before, 0.2 * before)
    slope = 1 - after**2 if activation == 0 else np.where(before >= 0, 1, 0.2)
    wanted = grad[:, None] * vector * slope, grad_vector + grad[:, None] * after
    gradient_before_activation(after.reshape(-1), grad, vector.ravel(), grad_vector.ravel(), heads, dim, activation)
    np.testing.assert_allclose(after, wanted[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_vector, wanted[1], rtol=1e-12, atol=1e-12)
