"""Compiled loops over the rows of a CSR: fused forward, and a backward of two passes that needs no atomics.

All arrays are flat: node tensors [nodes * heads * dim], edge tensors [edges * width]. An array of size 0 stands for an
option that is not used. Sizes are run-time values, so that one compilation serves every model. Rows may be pieces of a
heavy query: `row_of` names the query of each row.
"""

import numpy as np

from graphattn.kernels.compiled import compiled
from graphattn.kernels.edges_cpu_additive import (
    activate,
    add_all,
    add_edge,
    add_groups,
    add_pair,
    edge_weight_gradient,
    feature_gradient,
    to_gradient,
    vector_products,
)
from graphattn.kernels.vectors import add_heads, dot_heads, exponentials, inner, prefetch

BLOCK = 64  # edges whose scores are held at a time; a row longer than that is merged block by block
SOFTMAX, RELU, SIGMOID = 0, 1, 2
AHEAD = 8  # edges between asking for a row and using it

WORD = np.uint64(0xFFFFFFFF)


@inner
def scramble(word):
    """The same bijection of 32-bit words as `dropout.scramble`."""
    word = ((word ^ (word >> np.uint64(16))) * np.uint64(0x7FEB352D)) & WORD
    word = ((word ^ (word >> np.uint64(15))) * np.uint64(0x846CA68B)) & WORD
    return word ^ (word >> np.uint64(16))


@inner
def edge_word(seed, query, key, repeat):
    word = scramble(np.uint64(seed) ^ ((np.uint64(query) * np.uint64(0x9E3779B1)) & WORD))
    word = scramble(word ^ ((np.uint64(key) * np.uint64(0x85EBCA77)) & WORD))
    return scramble(word ^ ((np.uint64(repeat) * np.uint64(0xC2B2AE3D)) & WORD))


@inner
def is_kept(edge, head, threshold):
    return scramble(edge ^ ((np.uint64(head) * np.uint64(0x27D4EB2F)) & WORD)) >= np.uint64(threshold)


@inner
def prefetch_row(table, row, width):
    for at in range(0, width, 16):
        prefetch(table, row * width + at)


@inner
def score_block(
    scores, hidden, features, by_head, start, count, query, col, edge_id, q, k, bias, u, x, vector, edge_weight,
    activation, heads, kv_heads, dim, edge_dim, scale, ahead,
):  # fmt: skip
    """scores[e * heads + h] of `count` edges from `start` on.

    The additive score leaves activated vectors in `hidden`, and the edge features that it used in `features`.
    """
    group, width = heads // kv_heads, heads * dim
    bias_heads = heads if bias.size > edge_id.size else 1
    for e in range(count):
        key = np.int64(col[start + e])
        if ahead and start + e + AHEAD < col.size:
            prefetch_row(k, np.int64(col[start + e + AHEAD]), kv_heads * dim)
        if vector.size:
            add_pair(hidden, e * width, q, query * width, k, key * kv_heads * dim, kv_heads, group, dim)
            if edge_weight.size:
                place = np.int64(edge_id[start + e]) * edge_dim
                for d in range(edge_dim):
                    features[e * edge_dim + d] = x[place + d]
                add_edge(hidden, e * width, edge_weight, x, place, width, edge_dim)
        else:
            dot_heads(scores, e * heads, q, query * width, k, key * kv_heads * dim, kv_heads, group, dim)
    if vector.size:
        activate(hidden, count * width, activation)
        vector_products(scores, hidden, count, vector, heads, dim)
    if u.size:
        for e in range(count):
            place = np.int64(edge_id[start + e])
            dot_heads(by_head, 0, u, query * heads * edge_dim, x, place * edge_dim, 1, heads, edge_dim)
            for h in range(heads):
                scores[e * heads + h] += by_head[h]
    for i in range(count * heads):
        scores[i] *= scale
    if bias.size:
        for e in range(count):
            place = np.int64(edge_id[start + e])
            for h in range(heads):
                scores[e * heads + h] += bias[place * bias_heads + (h if bias_heads > 1 else 0)]


@inner
def sigmoids(x, count):
    for i in range(count):
        x[i] = -x[i]
    exponentials(x, count)
    for i in range(count):
        x[i] = x.dtype.type(1) / (x.dtype.type(1) + x[i])


@inner
def drop_block(weights, start, count, query, col, repeat, heads, seed, threshold, keep_scale):
    for e in range(count):
        edge = edge_word(seed, query, col[start + e], repeat[start + e] if repeat.size else 0)
        for h in range(heads):
            weights[e * heads + h] = weights[e * heads + h] * keep_scale if is_kept(edge, h, threshold) else 0


@compiled
def forward_rows(
    first, last, rowptr, row_of, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight,
    activation, heads, kv_heads, dim, value_dim, edge_dim, scale, normalizer, seed, threshold, keep_scale, ahead,
    out, lse, edge_out,
):  # fmt: skip
    """Fills rows first .. last - 1 of out, lse and edge_out; softmax keeps a running maximum over blocks of edges."""
    kind = q.dtype.type
    group = heads // kv_heads
    scores = np.empty(BLOCK * heads, q.dtype)
    hidden = np.empty(BLOCK * heads * dim if vector.size else 0, q.dtype)
    features = np.empty(BLOCK * edge_dim if edge_weight.size else 0, q.dtype)
    by_head = np.empty(heads, q.dtype)
    top = np.empty(heads, q.dtype)
    new_top = np.empty(heads, q.dtype)
    shrinks = np.empty(heads, q.dtype)
    total = np.empty(heads, q.dtype)
    for row in range(first, last):
        query = np.int64(row_of[row]) if row_of.size else np.int64(row)
        out_row = np.int64(row) * heads * value_dim
        edge_out_row = np.int64(row) * heads * edge_dim
        for h in range(heads):
            top[h] = -np.inf
            total[h] = 0
        for start in range(rowptr[row], rowptr[row + 1], BLOCK):
            count = min(BLOCK, rowptr[row + 1] - start)
            score_block(
                scores, hidden, features, by_head, start, count, query, col, edge_id, q, k, bias, u, x, vector, edge_weight,
                activation, heads, kv_heads, dim, edge_dim, scale, ahead,
            )  # fmt: skip
            if normalizer == SOFTMAX:
                for h in range(heads):
                    new_top[h] = top[h]
                for e in range(count):
                    for h in range(heads):
                        s = scores[e * heads + h]
                        new_top[h] = new_top[h] if new_top[h] >= s else s
                for h in range(heads):
                    shrinks[h] = top[h] - new_top[h] if top[h] > -np.inf else -np.inf
                exponentials(shrinks, heads)
                for h in range(heads):
                    if new_top[h] != top[h] and start > rowptr[row]:
                        shrink = shrinks[h]
                        total[h] *= shrink
                        for c in range(value_dim):
                            out[out_row + h * value_dim + c] *= shrink
                        for c in range(edge_dim):
                            edge_out[edge_out_row + h * edge_dim + c] *= shrink
                    top[h] = new_top[h]
                    new_top[h] = top[h] if top[h] != -np.inf else kind(0)
                for e in range(count):
                    for h in range(heads):
                        scores[e * heads + h] -= new_top[h]
                exponentials(scores, count * heads)
                for e in range(count):
                    for h in range(heads):
                        total[h] += scores[e * heads + h]
            elif normalizer == RELU:
                for i in range(count * heads):
                    scores[i] = kind(0) if scores[i] < 0 else scores[i]
            else:
                sigmoids(scores, count * heads)
            if threshold:
                drop_block(scores, start, count, query, col, repeat, heads, seed, threshold, keep_scale)
            for e in range(count):
                key = np.int64(col[start + e])
                if ahead and start + e + AHEAD < col.size:
                    prefetch_row(v, np.int64(col[start + e + AHEAD]), kv_heads * value_dim)
                v_at = key * kv_heads * value_dim
                add_heads(
                    scores, e * heads, v, v_at, 0, value_dim, out, out_row, value_dim, 0, kv_heads, group, value_dim
                )
            if edge_dim:
                for e in range(count):
                    place = np.int64(edge_id[start + e]) * edge_dim
                    add_heads(
                        scores, e * heads, x, place, 0, 0, edge_out, edge_out_row, edge_dim, 0, 1, heads, edge_dim
                    )
        if normalizer == SOFTMAX:
            for h in range(heads):
                at = np.int64(row) * heads + h
                lse[at] = top[h] + np.log(total[h]) if total[h] != 0 else -np.inf
                share = kind(1) / total[h] if total[h] != 0 else kind(0)
                for c in range(value_dim):
                    out[out_row + h * value_dim + c] *= share
                for c in range(edge_dim):
                    edge_out[edge_out_row + h * edge_dim + c] *= share


@compiled
def backward_rows(
    first, last, rowptr, row_of, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight,
    activation, heads, kv_heads, dim, value_dim, edge_dim, scale, normalizer, seed, threshold, keep_scale, ahead,
    lse, delta, grad_out, grad_edge_out, grad_q, grad_u, grad_bias, grad_x, grad_vector, grad_edge_weight,
    grad_scores, weights, grad_k, grad_v,
):  # fmt: skip
    """The pass over queries: gradients of q, u, bias and x; leaves scale * d score and weight of every edge and head behind.

    `grad_scores` and `weights` [edges * heads] are in the order of the CSR. If they are empty, no key has two queries, and the
    gradients of k and v are written here.
    """
    in_one_pass = grad_scores.size == 0
    if in_one_pass:
        grad_scores, weights = np.empty(BLOCK * heads, q.dtype), np.empty(BLOCK * heads, q.dtype)
    kind = q.dtype.type
    group, width = heads // kv_heads, heads * dim
    bias_heads = heads if bias.size > edge_id.size else 1
    scores = np.empty(BLOCK * heads, q.dtype)
    hidden = np.empty(BLOCK * width if vector.size else 0, q.dtype)
    features = np.empty(BLOCK * edge_dim if edge_weight.size else 0, q.dtype)
    by_head = np.empty(heads, q.dtype)
    for row in range(first, last):
        query = np.int64(row_of[row]) if row_of.size else np.int64(row)
        for start in range(rowptr[row], rowptr[row + 1], BLOCK):
            count = min(BLOCK, rowptr[row + 1] - start)
            base = np.int64(0) if in_one_pass else np.int64(start) * heads
            score_block(
                scores, hidden, features, by_head, start, count, query, col, edge_id, q, k, bias, u, x, vector, edge_weight,
                activation, heads, kv_heads, dim, edge_dim, scale, ahead,
            )  # fmt: skip
            if normalizer == SOFTMAX:
                for e in range(count):
                    for h in range(heads):
                        at = lse[query * heads + h]
                        scores[e * heads + h] -= at if at != -np.inf else kind(0)
                exponentials(scores, count * heads)
            elif normalizer == RELU:
                for i in range(count * heads):
                    scores[i] = kind(0) if scores[i] < 0 else scores[i]
            else:
                sigmoids(scores, count * heads)
            for i in range(count * heads):
                weights[base + i] = scores[i]
            if threshold:
                for i in range(count * heads):
                    scores[i] = kind(1)
                drop_block(scores, start, count, query, col, repeat, heads, seed, threshold, keep_scale)
            for e in range(count):
                key = np.int64(col[start + e])
                place = np.int64(edge_id[start + e]) if edge_id.size else np.int64(0)
                if ahead and start + e + AHEAD < col.size:
                    prefetch_row(v, np.int64(col[start + e + AHEAD]), kv_heads * value_dim)
                grad_at, v_at = query * heads * value_dim, key * kv_heads * value_dim
                dot_heads(grad_scores, base + e * heads, grad_out, grad_at, v, v_at, kv_heads, group, value_dim)
                if edge_dim:
                    at = query * heads * edge_dim
                    dot_heads(by_head, 0, grad_edge_out, at, x, place * edge_dim, 1, heads, edge_dim)
                for h in range(heads):
                    at = base + e * heads + h
                    grad = grad_scores[at]
                    if edge_dim:
                        grad += by_head[h]
                    weight = weights[at]
                    if threshold:
                        grad *= scores[e * heads + h]
                        weights[at] *= scores[e * heads + h]
                    if normalizer == SOFTMAX:
                        grad = weight * (grad - delta[query * heads + h])
                    elif normalizer == RELU:
                        grad = grad if weight > 0 else kind(0)
                    else:
                        grad *= weight * (kind(1) - weight)
                    grad_scores[at] = grad * scale
                    if grad_bias.size:
                        grad_bias[place * bias_heads + (h if bias_heads > 1 else 0)] += grad
            for e in range(count):
                key = np.int64(col[start + e])
                k_at, to = key * kv_heads * dim, np.int64(row) * width
                at = base + e * heads
                if grad_v.size:
                    grad_at, v_at = query * heads * value_dim, key * kv_heads * value_dim
                    add_heads(
                        weights, at, grad_out, grad_at, value_dim, 0, grad_v, v_at, 0, value_dim, kv_heads, group, value_dim
                    )
                if vector.size:
                    to_gradient(
                        hidden, e * width, grad_scores, at, vector, grad_vector, heads, dim, activation
                    )
                    add_all(hidden, e * width, grad_q, to, width)
                    if grad_k.size:
                        add_groups(hidden, e * width, grad_k, k_at, kv_heads, group, dim)
                    continue
                add_heads(grad_scores, at, k, k_at, 0, dim, grad_q, to, dim, 0, kv_heads, group, dim)
                if grad_k.size:
                    q_at = query * width
                    add_heads(grad_scores, at, q, q_at, dim, 0, grad_k, k_at, 0, dim, kv_heads, group, dim)
            if edge_weight.size and grad_edge_weight.size:
                edge_weight_gradient(hidden, features, grad_edge_weight, count, width, edge_dim)
            if edge_weight.size and grad_x.size:
                for e in range(count):
                    x_at = np.int64(edge_id[start + e]) * edge_dim
                    feature_gradient(hidden, e * width, edge_weight, grad_x, x_at, width, edge_dim)
            if edge_dim:
                for e in range(count):
                    place = np.int64(edge_id[start + e]) * edge_dim
                    at, node = base + e * heads, query * heads * edge_dim
                    if grad_x.size:
                        add_heads(weights, at, grad_edge_out, node, edge_dim, 0, grad_x, place, 0, 0, 1, heads, edge_dim)
                    if u.size:
                        to = np.int64(row) * heads * edge_dim
                        if grad_x.size:
                            add_heads(grad_scores, at, u, node, edge_dim, 0, grad_x, place, 0, 0, 1, heads, edge_dim)
                        add_heads(grad_scores, at, x, place, 0, 0, grad_u, to, edge_dim, 0, 1, heads, edge_dim)


@compiled
def backward_columns(
    first, last, rowptr, row_of, col, place_of, edge_id, q, k, x, vector, edge_weight, grad_out, grad_scores, weights,
    activation, heads, kv_heads, dim, value_dim, edge_dim, ahead, grad_k, grad_v,
):  # fmt: skip
    """The pass over keys (rows of the transposed CSR): gradients of k and v from what the pass over queries left behind."""
    group, width = heads // kv_heads, heads * dim
    hidden = np.empty(width if vector.size else 0, q.dtype)
    nothing = np.empty(0, q.dtype)
    for row in range(first, last):
        node = np.int64(row) * kv_heads
        key = np.int64(row_of[row]) if row_of.size else np.int64(row)
        for e in range(rowptr[row], rowptr[row + 1]):
            query = np.int64(col[e])
            base = np.int64(place_of[e]) * heads
            if ahead and e + AHEAD < col.size:
                later = np.int64(col[e + AHEAD])
                prefetch_row(q, later, heads * dim)
                prefetch_row(grad_out, later, heads * value_dim)
                prefetch(grad_scores, np.int64(place_of[e + AHEAD]) * heads)
                prefetch(weights, np.int64(place_of[e + AHEAD]) * heads)
            q_at, grad_at = query * width, query * heads * value_dim
            if vector.size and grad_k.size:
                add_pair(hidden, 0, q, q_at, k, key * kv_heads * dim, kv_heads, group, dim)
                if edge_weight.size:
                    place = np.int64(edge_id[place_of[e]])
                    add_edge(hidden, 0, edge_weight, x, place * edge_dim, width, edge_dim)
                activate(hidden, width, activation)
                to_gradient(hidden, 0, grad_scores, base, vector, nothing, heads, dim, activation)
                add_groups(hidden, 0, grad_k, node * dim, kv_heads, group, dim)
            elif grad_k.size:
                add_heads(grad_scores, base, q, q_at, dim, 0, grad_k, node * dim, 0, dim, kv_heads, group, dim)
            if grad_v.size:
                add_heads(
                    weights, base, grad_out, grad_at, value_dim, 0, grad_v, node * value_dim, 0, value_dim,
                    kv_heads, group, value_dim,
                )  # fmt: skip
