"""Compiled backward passes without atomics: one over queries (rows of the CSR), one over keys (rows of its transpose).

The pass over queries hands on what the pass over keys needs, so that no score is computed a third time. Arrays are laid out
as in edges_cpu_rows; places count edges in the order of the CSR.
"""

import numpy as np

from graphattn.kernels.compiled import compiled
from graphattn.kernels.edges_cpu_additive import (
    add_hidden,
    edge_weight_gradient,
    feature_gradients,
    fill_hidden,
    to_gradients,
    write_signs,
)
from graphattn.kernels.edges_cpu_dropout import keep_factors
from graphattn.kernels.edges_cpu_leaky import add_by_signs, add_leaky_gradients
from graphattn.kernels.edges_cpu_rows import RELU, SOFTMAX, find_places, needs_hidden, score_eight
from graphattn.kernels.edges_cpu_tables import add_rows, add_rows_by_places, dot_rows, prefetch_rows
from graphattn.kernels.vectors import (
    LANES,
    exponentials,
    first_lanes,
    gathered,
    inlined,
    inner,
    lanes_at,
    put_lanes,
    where_at_least,
)


@inlined
def set_scaled(factor, x, x_at, y, y_at, size, is_first):
    """y = factor * x, or y += factor * x if it is not the first."""
    whole = size - size % LANES
    for i in range(0, whole, LANES):
        product = lanes_at(x, x_at + i) * factor
        put_lanes(product if is_first else product + lanes_at(y, y_at + i), y, y_at + i)
    for i in range(whole, size):
        y[y_at + i] = factor * x[x_at + i] + (x.dtype.type(0) if is_first else y[y_at + i])


@compiled
def backward_rows(
    first, last, rowptr, row_of, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight,
    activation, heads, kv_heads, dim, value_dim, edge_dim, scale, normalizer, seed, threshold, keep_scale, ahead,
    lse, delta, grad_out, grad_edge_out, grad_q, grad_u, grad_bias, grad_x, grad_vector, grad_edge_weight,
    handed_on, signs, grad_k, grad_v,
):  # fmt: skip
    """The pass over queries: gradients of q, u, bias, x and parameters.

    handed_on [edges, 2, heads] receives the weight and scale * d score of every edge and head, signs those of the hidden
    numbers (see edges_cpu_leaky). If handed_on is empty, the score is the dot product, no key has two queries, and the
    gradients of k and v are written here.
    """
    kind = q.dtype.type
    in_one_pass = handed_on.size == 0
    group, width, k_width, v_width = heads // kv_heads, heads * dim, kv_heads * dim, kv_heads * value_dim
    sign_step = heads * ((dim + 7) // 8)
    bias_heads = heads if bias.size > col.size else 1
    scores, weights = np.empty(heads * LANES, q.dtype), np.empty(heads * LANES, q.dtype)
    factors = np.empty(heads * LANES if threshold else 0, q.dtype)
    hidden = np.empty(LANES * width if needs_hidden(vector, edge_weight, activation) else 0, q.dtype)
    hidden_places = np.arange(LANES) * width
    features, by_edge = np.empty(LANES * edge_dim, q.dtype), np.empty(LANES, q.dtype)
    k_places, v_places = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    x_places, bias_places = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    sign_places = np.arange(LANES) * sign_step
    kept_signs = signs if signs.size else np.empty(LANES * sign_step, np.uint8)
    to_vector = grad_vector if grad_vector.size else np.empty(vector.size, q.dtype)
    for row in range(first, last):
        query = np.int64(row_of[row]) if row_of.size else np.int64(row)
        grad_at, to_q = query * heads * value_dim, np.int64(row) * width
        u_at, to_u = query * heads * edge_dim, np.int64(row) * heads * edge_dim
        for start in range(rowptr[row], rowptr[row + 1], LANES):
            count = min(LANES, rowptr[row + 1] - start)
            find_places(k_places, col, start, count, k_width)
            find_places(v_places, col, start, count, v_width)
            if ahead:
                prefetch_rows(k, col, start + LANES, k_width, 0, k_width)
                prefetch_rows(v, col, start + LANES, v_width, 0, v_width)
            if edge_dim:
                find_places(x_places, edge_id, start, count, edge_dim)
                prefetch_rows(x, edge_id, start + LANES, edge_dim, 0, edge_dim)
            if bias.size:
                find_places(bias_places, edge_id, start, count, bias_heads)
            if signs.size:
                for e in range(LANES):
                    sign_places[e] = (np.int64(start) + min(e, count - 1)) * sign_step
            score_eight(
                scores, LANES, 0, hidden, hidden_places, query, k_places, x_places, bias_places, q, k, bias, u, x, vector,
                edge_weight, activation, heads, kv_heads, dim, edge_dim, scale, bias_heads,
            )  # fmt: skip
            if threshold:
                keep_factors(factors, start, count, query, col, repeat, heads, seed, threshold, keep_scale)
            for h in range(heads):
                at, k_shift, v_shift = h * LANES, h // group * dim, h // group * value_dim
                grad = dot_rows(grad_out, grad_at + h * value_dim, v, v_places, 0, v_shift, value_dim)
                if edge_dim:
                    grad = grad + dot_rows(grad_edge_out, u_at + h * edge_dim, x, x_places, 0, 0, edge_dim)
                weight = lanes_at(scores, at)
                if normalizer == SOFTMAX:
                    top = lse[query * heads + h]
                    weight = exponentials(weight - (top if top != -np.inf else kind(0)))
                elif normalizer == RELU:
                    weight = where_at_least(kind(0), weight, kind(0), weight)
                else:
                    weight = kind(1) / (exponentials(kind(0) - weight) + kind(1))
                weight = first_lanes(weight, count)
                undropped = weight
                if threshold:
                    factor = lanes_at(factors, at)
                    grad = grad * factor
                    weight = first_lanes(weight * factor, count)
                if normalizer == SOFTMAX:
                    grad = undropped * (grad - delta[query * heads + h])
                elif normalizer == RELU:
                    grad = where_at_least(kind(0), undropped, kind(0), grad)
                else:
                    grad = grad * undropped * (kind(1) - undropped)
                grad = first_lanes(grad, count)
                put_lanes(weight, weights, at)
                put_lanes(grad * scale, scores, at)
                if grad_bias.size:
                    put_lanes(grad, by_edge, 0)
                    for e in range(count):
                        grad_bias[bias_places[e] + (h if bias_heads > 1 else 0)] += by_edge[e]
                if not vector.size:
                    add_rows(scores, at, k, k_places, 0, k_shift, grad_q, to_q + h * dim, dim)
                elif not hidden.size:
                    add_leaky_gradients(
                        scores, at, vector, h * dim, q, query * width + h * dim, k, k_places, 0, k_shift, dim,
                        grad_q, to_q + h * dim, to_vector, h * dim, kept_signs, sign_places, sign_step // heads * h,
                    )  # fmt: skip
                if u.size:
                    add_rows(scores, at, x, x_places, 0, 0, grad_u, to_u + h * edge_dim, edge_dim)
            if hidden.size:
                if signs.size:
                    write_signs(hidden, signs, sign_places[0], count, heads, dim)
                to_gradients(hidden, scores, vector, grad_vector, heads, dim, activation)
                add_hidden(hidden, count, grad_q, to_q, heads, 1, dim)
                if grad_edge_weight.size:
                    edge_weight_gradient(hidden, x, x_places, 0, features, grad_edge_weight, width, edge_dim)
                if grad_x.size and edge_weight.size:
                    feature_gradients(
                        hidden, hidden_places, edge_weight, grad_x, x_places, 0, count, width, edge_dim, by_edge
                    )
            if grad_x.size:
                for e in range(count):
                    for h in range(heads):
                        at = h * LANES + e
                        set_scaled(weights[at], grad_edge_out, u_at + h * edge_dim, grad_x, x_places[e], edge_dim, False)
                        if u.size:
                            set_scaled(scores[at], u, u_at + h * edge_dim, grad_x, x_places[e], edge_dim, False)
            if not in_one_pass:
                hand_on(handed_on, weights, scores, start, count, heads)
                continue
            for e in range(count):
                for h in range(heads):
                    at, is_first = h * LANES + e, h % group == 0
                    k_at, v_at = k_places[e] + h // group * dim, v_places[e] + h // group * value_dim
                    if grad_k.size:
                        set_scaled(scores[at], q, query * width + h * dim, grad_k, k_at, dim, is_first)
                    if grad_v.size:
                        set_scaled(weights[at], grad_out, grad_at + h * value_dim, grad_v, v_at, value_dim, is_first)


@inner
def hand_on(handed_on, weights, grads, start, count, heads):
    for e in range(count):
        to = (np.int64(start) + e) * 2 * heads
        for h in range(heads):
            handed_on[to + h] = weights[h * LANES + e]
            handed_on[to + heads + h] = grads[h * LANES + e]


@compiled
def backward_columns(
    first, last, rowptr, row_of, col, place_of, edge_id, q, k, x, vector, edge_weight, grad_out, handed_on, signs,
    activation, heads, kv_heads, dim, value_dim, edge_dim, ahead, grad_k, grad_v,
):  # fmt: skip
    """The pass over keys (rows of the transposed CSR): gradients of k and v from what the pass over queries handed on.

    handed_on has one more edge, of weight and gradient 0, for the lanes that the last eight edges of a key leave empty.
    """
    group, width = heads // kv_heads, heads * dim
    sign_step = heads * ((dim + 7) // 8)
    num_edges = place_of.size
    hidden = np.empty(LANES * width if vector.size and not signs.size and grad_k.size else 0, q.dtype)
    grads = np.empty(heads * LANES if hidden.size else 0, q.dtype)
    nothing = np.empty(0, q.dtype)
    q_places, grad_places = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    places, sign_places, x_places = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    for row in range(first, last):
        key = np.int64(row_of[row]) if row_of.size else np.int64(row)
        to_k, to_v = np.int64(row) * kv_heads * dim, np.int64(row) * kv_heads * value_dim
        for start in range(rowptr[row], rowptr[row + 1], LANES):
            count = min(LANES, rowptr[row + 1] - start)
            find_places(q_places, col, start, count, width)
            find_places(grad_places, col, start, count, heads * value_dim)
            find_places(places, place_of, start, count, 2 * heads)
            find_places(sign_places, place_of, start, count, sign_step)
            for e in range(count, LANES):
                places[e] = num_edges * 2 * heads
            if ahead:
                if not vector.size or hidden.size:
                    prefetch_rows(q, col, start + LANES, width, 0, width)
                prefetch_rows(grad_out, col, start + LANES, heads * value_dim, 0, heads * value_dim)
            prefetch_rows(handed_on, place_of, start + LANES, 2 * heads, 0, 2 * heads)
            if signs.size:
                prefetch_rows(signs, place_of, start + LANES, sign_step, 0, sign_step)
            for h in range(heads):
                to = to_k + h // group * dim
                if grad_k.size and signs.size:
                    add_by_signs(
                        handed_on, places, heads + h, signs, sign_places, sign_step // heads * h, 0, vector, h * dim,
                        grad_k, to, dim,
                    )  # fmt: skip
                elif grad_k.size and not vector.size:
                    add_rows_by_places(handed_on, places, heads + h, q, q_places, 0, h * dim, grad_k, to, dim)
                if grad_v.size:
                    to = to_v + h // group * value_dim
                    add_rows_by_places(
                        handed_on, places, h, grad_out, grad_places, 0, h * value_dim, grad_v, to, value_dim
                    )
            if hidden.size:
                if edge_weight.size:
                    for e in range(LANES):
                        x_places[e] = np.int64(edge_id[place_of[start + min(e, count - 1)]]) * edge_dim
                fill_hidden(
                    hidden, k, key * kv_heads * dim, group, q, q_places, 1, x, x_places, 0, edge_weight, activation,
                    heads, dim, edge_dim,
                )  # fmt: skip
                for h in range(heads):
                    put_lanes(gathered(handed_on, places, 0, heads + h), grads, h * LANES)
                to_gradients(hidden, grads, vector, nothing, heads, dim, activation)
                add_hidden(hidden, count, grad_k, to_k, kv_heads, group, dim)
