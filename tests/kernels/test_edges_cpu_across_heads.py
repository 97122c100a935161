"""Vectors across heads against NumPy in float64, and the kernel that uses them against plain loops."""

import numpy as np
import pytest
import torch
from numba import njit

from graphattn import EdgeListGraph, attend
from graphattn.kernels.edges_cpu_across_heads import (
    is_one_number,
    keys_with_edges,
    leaky_number_gradients,
    leaky_numbers,
    put_by_edge,
    sum_rows,
)
from graphattn.kernels.edges_cpu_additive import LEAKY_RELU, TANH
from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.scores import Additive

HEADS = pytest.mark.parametrize("heads", [0, 1, 7, 8, 11, 24])


@njit
def scores_of(vector, q, table, places, to, heads):
    leaky_numbers(address_of(to, 3), 10, vector, address_of(q, 2), table, address_of(places, 1), heads, 0.7)


@njit
def back(grads, vector, q, table, places, grad_q, grad_vector, heads):
    q, grad_q = address_of(q, 2), address_of(grad_q, 1)
    leaky_number_gradients(grads, vector, q, table, places, grad_q, grad_vector, heads)


@njit
def lay_out(numbers, to, places, heads):
    put_by_edge(numbers, address_of(to, 3), places, heads)


@njit
def add_up(table, places, y, size):
    sum_rows(address_of(table, 4), places, address_of(y, 2), size)


def padded(heads):
    """Heads that the loops have room for."""
    return -(-heads // 8) * 8


def problem(heads):
    random = np.random.default_rng(heads)
    table, places = random.standard_normal(300), random.integers(0, 250, 9)  # the first is passed over
    vector, q, grads = (
        random.standard_normal(heads),
        random.standard_normal(heads + 2),
        random.standard_normal((heads, 8)),
    )
    if heads:
        table[places[1]] = -q[2]  # a hidden number that is 0
    hidden = np.stack([table[place : place + heads] for place in places[1:]], 1) + q[2:, None]
    return vector, q, table, places, grads, hidden, np.where(hidden > 0, 1, 0.2)


@HEADS
def test_scores(heads):
    vector, q, table, places, _, hidden, slope = problem(heads)
    to = np.full(padded(heads) * 10 + 20, 9.0)
    wanted = to.copy()
    for h in range(heads):
        wanted[h * 10 + 3 : h * 10 + 11] = 0.7 * vector[h] * slope[h] * hidden[h]
    scores_of(vector, q, table, places, to, heads)
    end = heads * 10 + 3 if heads % 8 else None  # then come heads that are there to make eight
    np.testing.assert_allclose(to[:end], wanted[:end], rtol=1e-12, atol=1e-12)


@HEADS
def test_gradients(heads):
    vector, q, table, places, grads, hidden, slope = problem(heads)
    assert not heads or (hidden == 0).any()
    before = np.random.default_rng(0).standard_normal(60)
    found, grad_q, grad_vector = np.full((padded(heads), 8), np.nan), before.copy(), before.copy()
    found[:heads] = grads
    back(found.reshape(-1), vector, q, table, places[1:].copy(), grad_q, grad_vector, heads)
    np.testing.assert_allclose(found[:heads], grads * slope * vector[:, None], rtol=1e-12, atol=1e-12)
    wanted_q, wanted_vector = before.copy(), before.copy()
    wanted_q[1 : 1 + heads] += (grads * slope).sum(1) * vector
    wanted_vector[:heads] += (grads * slope * hidden).sum(1)
    np.testing.assert_allclose(grad_q, wanted_q, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_vector, wanted_vector, rtol=1e-12, atol=1e-12)


@HEADS
def test_numbers_of_an_edge_lie_together(heads):
    numbers, places = np.full((padded(heads), 8), np.nan), np.random.default_rng(2).permutation(8) * 30
    numbers[:heads] = np.random.default_rng(1).standard_normal((heads, 8))
    to = np.zeros(8 * 30 + 3)
    wanted = to.copy()
    for lane, place in enumerate(places):
        wanted[place + 3 : place + 3 + heads] = numbers[:heads, lane]
    lay_out(numbers.ravel(), to, places, heads)
    np.testing.assert_array_equal(to, wanted)


@HEADS
def test_sum_of_eight_rows(heads):
    _, _, table, places, _, _, _ = problem(heads)
    y = np.random.default_rng(3).standard_normal(40)
    wanted = y.copy()
    wanted[2 : 2 + heads] += sum(table[place + 4 : place + 4 + heads] for place in places[1:])
    add_up(table, places[1:].copy(), y, heads)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


@HEADS
def test_keys_and_features_of_edges(heads):
    _, _, table, places, _, _, _ = problem(heads)
    random = np.random.default_rng(4)
    x, x_places, weight = random.standard_normal(60), random.integers(0, 55, 9), random.standard_normal((5, heads))
    wanted = [table[p : p + heads] + x[at : at + 5] @ weight for p, at in zip(places[1:], x_places[1:], strict=True)]
    to = np.empty(8 * heads)
    keys_with_edges(to, table, places, 1, x, x_places, weight.ravel(), heads, 5)
    np.testing.assert_allclose(to.reshape(8, heads), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "activation", "kv_heads", "expected"),
    [(8, LEAKY_RELU, 8, True), (8, TANH, 8, False), (16, LEAKY_RELU, 8, False), (8, LEAKY_RELU, 4, False)],
)
def test_one_number_of_each_head(size, activation, kv_heads, expected):
    assert is_one_number.py_func(np.empty(size), activation, 8, kv_heads) is expected


@pytest.mark.parametrize("with_edge_weight", [False, True])
@pytest.mark.parametrize("heads", [1, 11])
def test_the_score_of_gat_with_every_option_equals_loops(heads, with_edge_weight):
    torch.manual_seed(heads)
    graph = EdgeListGraph(torch.randint(0, 30, (2, 200)), 30)
    shapes = (
        (30, heads, 1),
        (30, heads, 1),
        (30, heads, 3),
        (200, heads),
        (200, 2),
        (30, heads, 2),
        (heads, 1),
        (heads, 1, 2),
    )
    *tensors, bias, features, edge_query, vector, weight = (
        torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes
    )
    inputs, results, cotangents = (*tensors, bias, features, edge_query, vector), [], None
    inputs, weight = ((*inputs, weight), weight) if with_edge_weight else (inputs, None)
    for kernel in ("reference", "edges_cpu"):
        options = {"bias": bias, "edge_features": features, "edge_query": edge_query, "dropout": 0.3}
        torch.manual_seed(0)  # of dropout
        outputs = attend(*tensors, graph, score=Additive(vector, weight, "leaky_relu"), kernel=kernel, **options)
        cotangents = cotangents or [torch.randn_like(x) for x in outputs]
        results.append([*outputs, *torch.autograd.grad(outputs, inputs, cotangents)])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
