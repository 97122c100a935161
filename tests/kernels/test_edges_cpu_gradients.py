"""The compiled backward passes, called as the kernel calls them, against plain loops of NumPy in float64."""

import numpy as np

from graphattn.kernels.edges_cpu import transposition
from graphattn.kernels.edges_cpu_gradients import backward_columns, backward_rows
from tests.kernels.test_edges_cpu_rows import DEGREES, DIM, HEADS, problem, weights_of


def expected():
    """What the loops are given: lse, delta, grad_out; and the gradients of query, key and value."""
    arguments, (q, k, v), keys_of, graph = problem()
    grad_out = np.random.default_rng(0).standard_normal((len(DEGREES), HEADS, DIM))
    lse, delta = np.zeros((2, len(DEGREES), HEADS))
    wanted = [np.zeros_like(x) for x in (q, k, v)]
    for n, keys in enumerate(keys_of):
        weights, lse[n] = weights_of(q[n], k[keys])
        grad_weights = np.einsum("hc,ehc->eh", grad_out[n], v[keys])
        delta[n] = (weights * grad_weights).sum(0)
        grad_scores = 0.7 * weights * (grad_weights - delta[n])
        wanted[0][n] = np.einsum("eh,ehc->hc", grad_scores, k[keys])
        wanted[1][keys] = grad_scores[..., None] * q[n]
        wanted[2][keys] = weights[..., None] * grad_out[n]
    return arguments, (lse.ravel(), delta.ravel(), grad_out.ravel(), np.empty(0)), wanted, graph


def test_one_pass_gives_every_gradient_where_no_key_has_two_queries():
    arguments, given, wanted, _ = expected()
    found = [np.zeros_like(x) for x in wanted]
    grad_q, grad_k, grad_v = (x.reshape(-1) for x in found)
    nothing, no_signs = np.empty(0), np.empty(0, np.uint8)
    backward_rows(0, len(DEGREES), *arguments, *given, grad_q, *[nothing] * 6, no_signs, grad_k, grad_v)
    for gradient, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, right, rtol=1e-12, atol=1e-12)


def test_two_passes_give_the_same():
    arguments, given, wanted, graph = expected()
    found = [np.zeros_like(x) for x in wanted]
    grad_q, grad_k, grad_v = (x.reshape(-1) for x in found)
    nothing, no_signs = np.empty(0), np.empty(0, np.uint8)
    handed_on = np.zeros((sum(DEGREES) + 1) * 2 * HEADS)
    backward_rows(0, len(DEGREES), *arguments, *given, grad_q, *[nothing] * 5, handed_on, no_signs, nothing, nothing)
    by_key, place_of = transposition(graph)
    edge_id, q, k = arguments[3], *arguments[5:7]
    shared = (*by_key[:3], place_of, edge_id, q, k, nothing, nothing, nothing, given[2], handed_on, no_signs)
    for half in ((0, 70), (70, by_key.num_rows)):
        backward_columns(*half, *shared, 0, HEADS, HEADS, DIM, DIM, 0, grad_k, grad_v)
    for gradient, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, right, rtol=1e-12, atol=1e-12)
