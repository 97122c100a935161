"""Compiled backward passes without atomics: one over queries (rows of the CSR), one over keys (rows of its transpose).

The pass over queries hands on what the pass over keys needs, so that no score is computed a third time. Arrays are laid out
as in edges_cpu_rows; places count edges in the order of the CSR.
"""

import numpy as np

from graphattn.kernels.compiled import compiled
from graphattn.kernels.edges_cpu_across_heads import is_one_number, leaky_number_gradients, put_by_edge, sum_rows
from graphattn.kernels.edges_cpu_additive import (
    add_hidden,
    edge_weight_gradient,
    feature_gradients,
    fill_hidden,
    to_gradients,
    write_signs,
)
from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.edges_cpu_dropout import keep_factors
from graphattn.kernels.edges_cpu_leaky import add_heads_by_signs, add_leaky_heads
from graphattn.kernels.edges_cpu_rows import RELU, SOFTMAX, needs_hidden, score_eight
from graphattn.kernels.edges_cpu_tables import (
    add_heads,
    add_heads_by_places,
    dot_heads,
    find_places,
    prefetch_rows,
    put_places,
    set_heads,
)
from graphattn.kernels.vectors import (
    LANES,
    exponentials,
    filled,
    first_lanes,
    gathered,
    in_eights,
    inlined,
    lanes_at,
    put_lanes,
    where_at_least,
)


@inlined
def weight_and_gradient(score, grad, factor, normalizer, lse, delta, one):
    """The weights of eight edges after dropout, and the gradients of their scores from those of the weights."""
    zero = one - one
    grad = grad * factor
    if normalizer == SOFTMAX:
        weight = exponentials(score - (lse if lse != -np.inf else zero))
        grad = weight * (grad - delta)
    elif normalizer == RELU:
        weight = where_at_least(zero, score, zero, score)
        grad = where_at_least(zero, weight, zero, grad)
    else:
        weight = one / (exponentials(zero - score) + one)
        grad = grad * weight * (one - weight)
    return weight * factor, grad


@compiled
def backward_rows(
    first, last, rowptr, row_of, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight,
    activation, heads, kv_heads, dim, value_dim, edge_dim, scale, normalizer, seed, threshold, keep_scale,
    lse, delta, grad_out, grad_edge_out, grad_q, grad_u, grad_bias, grad_x, grad_vector, grad_edge_weight,
    handed_on, signs, grad_k, grad_v,
):  # fmt: skip
    """The pass over queries: gradients of q, u, bias, x and parameters.

    handed_on [edges, 2, heads] receives the weight and scale * d score of every edge and head, signs those of the hidden
    numbers (see edges_cpu_leaky); where each head has but one, handed_on receives its gradient instead. If handed_on is
    empty, the score is the dot product, no key has two queries, and the gradients of k and v are written here.
    """
    kind = q.dtype.type
    in_one_pass = handed_on.size == 0
    group, width, k_width, v_width = heads // kv_heads, heads * dim, kv_heads * dim, kv_heads * value_dim
    sign_step = heads * ((dim + 7) // 8)
    one_number = is_one_number(vector, activation, heads, kv_heads)
    bias_heads = heads if bias.size > col.size else 1
    scores, weights, grads = np.empty((3, in_eights(heads) * LANES), q.dtype)
    factors = np.empty(heads * LANES if threshold else 0, q.dtype)
    hidden = np.empty(LANES * width if needs_hidden(vector, edge_weight, activation) else 0, q.dtype)
    hidden_places = np.arange(LANES) * width
    features, by_edge = np.empty(LANES * edge_dim, q.dtype), np.empty(LANES, q.dtype)
    k_places = np.empty(2 * LANES, np.int64)
    v_places = np.empty(2 * LANES, np.int64) if v_width != k_width else k_places
    x_places, bias_places = np.empty(2 * LANES, np.int64), np.empty(2 * LANES, np.int64)
    sign_places, handed_places = np.arange(LANES) * sign_step, np.empty(LANES, np.int64)
    kept_signs = signs if signs.size else np.empty(LANES * sign_step, np.uint8)
    to_vector = grad_vector if grad_vector.size else np.empty(vector.size, q.dtype)
    for row in range(first, last):
        query = np.int64(row_of[row]) if row_of.size else np.int64(row)
        q_here, grad_at, to_q = address_of(q, query * width), query * heads * value_dim, np.int64(row) * width
        u_at, to_u = query * heads * edge_dim, np.int64(row) * heads * edge_dim
        for start in range(rowptr[row], rowptr[row + 1], LANES):
            count = min(LANES, rowptr[row + 1] - start)
            find_places(k_places, 0, col, start, count, k_width)
            if v_width != k_width:
                find_places(v_places, 0, col, start, count, v_width)
            if edge_dim:
                find_places(x_places, 0, edge_id, start, count, edge_dim)
            if bias.size:
                find_places(bias_places, 0, edge_id, start, count, bias_heads)
            put_places(handed_places, 0, None, start, count, col.size, 2 * heads)
            if signs.size:
                put_places(sign_places, 0, None, start, count, start + count - 1, sign_step)
            score_eight(
                scores, LANES, 0, hidden, hidden_places, query, k_places, x_places, bias_places, q, k, bias, u, x, vector,
                edge_weight, activation, heads, kv_heads, dim, edge_dim, scale, bias_heads,
            )  # fmt: skip
            if threshold:
                keep_factors(factors, start, count, query, col, repeat, heads, seed, threshold, keep_scale)
            grad_here, v_coming, one = address_of(grad_out, grad_at), address_of(v_places, LANES), kind(1)
            dot_heads(grads, LANES, grad_here, v, v_places, v_coming, heads, group, value_dim, one, False)
            if edge_dim:
                grad_here = address_of(grad_edge_out, u_at)
                dot_heads(grads, LANES, grad_here, x, x_places, None, heads, heads, edge_dim, one, True)
            for h in range(heads):
                at = h * LANES
                factor = lanes_at(factors, at) if threshold else filled(kind(1))
                top = lse[query * heads + h] if normalizer == SOFTMAX else kind(0)
                shift = delta[query * heads + h]
                weight, grad = weight_and_gradient(
                    lanes_at(scores, at), lanes_at(grads, at), factor, normalizer, top, shift, kind(1)
                )
                grad = first_lanes(grad, count)
                put_lanes(first_lanes(weight, count), weights, at)
                put_lanes(grad * scale, grads, at)
                if grad_bias.size:
                    put_lanes(grad, by_edge, 0)
                    for e in range(count):
                        grad_bias[bias_places[e] + (h if bias_heads > 1 else 0)] += by_edge[e]
            if not vector.size:
                add_heads(grads, LANES, k, k_places, None, address_of(grad_q, to_q), heads, group, dim)
            elif not hidden.size and not one_number:
                add_leaky_heads(
                    grads, vector, q_here, k, k_places, address_of(grad_q, to_q), to_vector, kept_signs, sign_places,
                    heads, group, dim,
                )  # fmt: skip
            if u.size:
                add_heads(grads, LANES, x, x_places, None, address_of(grad_u, to_u), heads, heads, edge_dim)
            if grad_x.size:
                set_heads(weights, address_of(grad_edge_out, u_at), False, grad_x, x_places, heads, heads, edge_dim)
                if u.size:
                    set_heads(grads, address_of(u, u_at), False, grad_x, x_places, heads, heads, edge_dim)
            if hidden.size and one_number:
                to = address_of(grad_q, to_q)
                leaky_number_gradients(grads, vector, q_here, hidden, hidden_places, to, to_vector, heads)
                put_by_edge(grads, hidden, hidden_places, heads)
            elif one_number:
                leaky_number_gradients(grads, vector, q_here, k, k_places, address_of(grad_q, to_q), to_vector, heads)
            elif hidden.size:
                if signs.size:
                    write_signs(hidden, signs, sign_places[0], count, heads, dim)
                to_gradients(hidden, grads, vector, grad_vector, heads, dim, activation)
                add_hidden(hidden, count, grad_q, to_q, heads, 1, dim)
            if hidden.size and grad_edge_weight.size:
                edge_weight_gradient(hidden, x, x_places, features, grad_edge_weight, width, edge_dim)
            if hidden.size and edge_weight.size and grad_x.size:
                feature_gradients(
                    hidden, hidden_places, edge_weight, grad_x, x_places, count, width, edge_dim, features
                )
            if not in_one_pass:
                put_by_edge(weights, handed_on, handed_places, heads)
                put_by_edge(grads, address_of(handed_on, heads), handed_places, heads)
            if in_one_pass and grad_k.size:
                set_heads(grads, q_here, True, grad_k, k_places, heads, group, dim)
            if in_one_pass and grad_v.size:
                set_heads(weights, address_of(grad_out, grad_at), True, grad_v, v_places, heads, group, value_dim)


@compiled
def backward_columns(
    first, last, rowptr, row_of, col, place_of, edge_id, q, k, x, vector, edge_weight, grad_out, handed_on, signs,
    activation, heads, kv_heads, dim, value_dim, edge_dim, grad_k, grad_v,
):  # fmt: skip
    """The pass over keys (rows of the transposed CSR): gradients of k and v from what the pass over queries handed on.

    handed_on has one more edge, of weight and gradient 0, for the lanes that the last eight edges of a key leave empty.
    """
    group, width = heads // kv_heads, heads * dim
    sign_step = heads * ((dim + 7) // 8)
    one_number = is_one_number(vector, activation, heads, kv_heads)
    keeps_hidden = vector.size and not signs.size and not one_number and grad_k.size
    hidden = np.empty(LANES * width if keeps_hidden else 0, q.dtype)
    grads = np.empty(heads * LANES if hidden.size else 0, q.dtype)
    no_vector, handed_grads = np.empty(0, q.dtype), address_of(handed_on, heads)
    q_places = np.empty(2 * LANES, np.int64)
    grad_places = np.empty(2 * LANES, np.int64) if value_dim != dim else q_places
    places, sign_places, x_places = np.empty((3, 2 * LANES), np.int64)
    q_coming, grad_coming = address_of(q_places, LANES), address_of(grad_places, LANES)
    for row in range(first, last):
        key = np.int64(row_of[row]) if row_of.size else np.int64(row)
        k_at = np.int64(row) * kv_heads * dim
        to_k, to_v = address_of(grad_k, k_at), address_of(grad_v, np.int64(row) * kv_heads * value_dim)
        for start in range(rowptr[row], rowptr[row + 1], LANES):
            count = min(LANES, rowptr[row + 1] - start)
            find_places(q_places, 0, col, start, count, width)
            if value_dim != dim:
                find_places(grad_places, 0, col, start, count, heads * value_dim)
            find_places(places, 0, place_of, start, count, 2 * heads)
            put_places(places, 0, place_of, start, count, place_of.size, 2 * heads)
            prefetch_rows(handed_on, address_of(places, LANES), 2 * heads)
            if signs.size:
                find_places(sign_places, 0, place_of, start, count, sign_step)
                prefetch_rows(signs, address_of(sign_places, LANES), sign_step)
            if grad_k.size and one_number:
                sum_rows(handed_grads, places, to_k, heads)
            elif grad_k.size and signs.size:
                add_heads_by_signs(handed_grads, places, signs, sign_places, vector, to_k, heads, group, dim)
            elif grad_k.size and not vector.size:
                add_heads_by_places(handed_grads, places, q, q_places, q_coming, to_k, heads, group, dim)
            if grad_v.size:
                add_heads_by_places(
                    handed_on, places, grad_out, grad_places, grad_coming, to_v, heads, group, value_dim
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
                to_gradients(hidden, grads, vector, no_vector, heads, dim, activation)
                add_hidden(hidden, count, grad_k, k_at, kv_heads, group, dim)
