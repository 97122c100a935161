"""Compiled forward pass over the rows of a CSR; the scores of eight edges at a time, which edges_cpu_gradients shares.

All arrays are flat: node tensors [nodes * heads * dim], edge tensors [edges * width]. An array of size 0 stands for an
option that is not used. Sizes are run-time values, so that one compilation serves every model. Rows may be pieces of a
heavy query: `row_of` names the query of each row. The last eight edges of a row may be fewer: the last one then stands in
the lanes that are left, with weight 0.
"""

import numpy as np

from graphattn.kernels.compiled import compiled
from graphattn.kernels.edges_cpu_across_heads import is_one_number, keys_with_edges, leaky_numbers
from graphattn.kernels.edges_cpu_additive import LEAKY_RELU, fill_hidden
from graphattn.kernels.edges_cpu_dropout import keep_factors
from graphattn.kernels.edges_cpu_leaky import leaky_heads
from graphattn.kernels.edges_cpu_tables import add_heads, dot_heads, prefetch_rows
from graphattn.kernels.vectors import (
    LANES,
    exponentials,
    filled,
    first_lanes,
    gathered,
    inlined,
    inner,
    lanes_at,
    largest_of,
    put_lanes,
    total_of,
    where_at_least,
)

BLOCK = 64  # edges whose scores are held at a time; a row longer than that is merged block by block
SOFTMAX, RELU, SIGMOID = 0, 1, 2


@inlined
def find_places(places, nodes, start, count, width):
    """places[e] = nodes[start + e] * width for `count` edges, the last one repeated up to a multiple of eight."""
    for e in range(count):
        places[e] = np.int64(nodes[start + e]) * width
    for e in range(count, (count + LANES - 1) // LANES * LANES):
        places[e] = places[count - 1]


@inlined
def find_coming(places, nodes, start, width):
    """places[lane] = nodes[start + 8 + lane] * width: what the eight edges after those from `start` on will want."""
    last = nodes.size - 1
    for lane in range(LANES):
        places[lane] = np.int64(nodes[min(start + LANES + lane, last)]) * width


@inlined
def needs_hidden(vector, edge_weight, activation):
    """Whether the score is additive and its hidden vectors are kept in memory."""
    return vector.size > 0 and (edge_weight.size > 0 or activation != LEAKY_RELU)


@inner
def score_eight(
    scores, step, first, hidden, hidden_places, query, k_places, k_coming, x_places, x_coming, bias_places, q, k, bias, u, x,
    vector, edge_weight, activation, heads, kv_heads, dim, edge_dim, scale, bias_heads,
):  # fmt: skip
    """scores[h * step + first + lane] of the edges at places first ... first + 7; the additive score may leave `hidden`.

    Where each head has one hidden number, what is left is that of key and edge, before the query is added.
    """
    group, q_at, nothing = heads // kv_heads, query * heads * dim, k_coming[:0]
    one_number = is_one_number(vector, activation, heads, kv_heads)
    if edge_dim:
        prefetch_rows(x, x_coming, 0, edge_dim)
    if hidden.size or one_number:
        prefetch_rows(k, k_coming, 0, kv_heads * dim)
    if hidden.size and one_number:
        keys_with_edges(hidden, k, k_places, first, x, x_places, edge_weight, heads, edge_dim)
        leaky_numbers(vector, q, q_at, hidden, hidden_places, 0, scores, step, first, heads)
    elif hidden.size:
        fill_hidden(
            hidden, q, q_at, 1, k, k_places, group, x, x_places, first, edge_weight, activation, heads, dim, edge_dim
        )
        dot_heads(scores, step, first, vector, 0, hidden, hidden_places, 0, nothing, heads, 1, dim, False)
    elif one_number:
        leaky_numbers(vector, q, q_at, k, k_places, first, scores, step, first, heads)
    elif vector.size:
        leaky_heads(scores, step, first, vector, q, q_at, k, k_places, first, k_coming, kv_heads, group, dim)
    else:
        dot_heads(scores, step, first, q, q_at, k, k_places, first, k_coming, kv_heads, group, dim, False)
    if u.size:
        u_at = query * heads * edge_dim
        dot_heads(scores, step, first, u, u_at, x, x_places, first, nothing, 1, heads, edge_dim, True)
    for h in range(heads):
        s = lanes_at(scores, h * step + first) * scale
        if bias.size:
            s = s + gathered(bias, bias_places, first, h if bias_heads > 1 else 0)
        put_lanes(s, scores, h * step + first)


@inner
def weights_of_block(scores, h, count, is_first, normalizer, top, total, out, out_at, value_dim, edge_out, edge_out_at, edge_dim):
    """Turns the scores of one head in a block into weights; softmax keeps a running maximum and total over blocks."""
    kind = scores.dtype.type
    at, padded = h * BLOCK, (count + LANES - 1) // LANES * LANES
    if normalizer != SOFTMAX:
        for i in range(at, at + padded, LANES):
            s = lanes_at(scores, i)
            s = where_at_least(kind(0), s, kind(0), s) if normalizer == RELU else kind(1) / (exponentials(kind(0) - s) + kind(1))
            put_lanes(first_lanes(s, count - (i - at)), scores, i)
        return
    most = filled(top[h])
    for i in range(at, at + padded, LANES):
        s = lanes_at(scores, i)
        most = where_at_least(most, s, most, s)
    new_top = largest_of(most)
    if new_top != top[h] and not is_first:
        shrink = np.exp(top[h] - new_top)
        total[h] *= shrink
        for c in range(out_at, out_at + value_dim):
            out[c] *= shrink
        for c in range(edge_out_at, edge_out_at + edge_dim):
            edge_out[c] *= shrink
    top[h] = new_top
    start = new_top if new_top != -np.inf else kind(0)
    sums = filled(kind(0))
    for i in range(at, at + padded, LANES):
        s = first_lanes(exponentials(lanes_at(scores, i) - start), count - (i - at))
        sums = sums + s
        put_lanes(s, scores, i)
    total[h] += total_of(sums)


@compiled
def forward_rows(
    first, last, rowptr, row_of, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight,
    activation, heads, kv_heads, dim, value_dim, edge_dim, scale, normalizer, seed, threshold, keep_scale,
    out, lse, edge_out,
):  # fmt: skip
    """Fills rows first .. last - 1 of out, lse and edge_out, which hold zeros."""
    kind = q.dtype.type
    group, k_width, v_width = heads // kv_heads, kv_heads * dim, kv_heads * value_dim
    bias_heads = heads if bias.size > col.size else 1
    scores = np.empty(heads * BLOCK, q.dtype)
    hidden = np.empty(LANES * heads * dim if needs_hidden(vector, edge_weight, activation) else 0, q.dtype)
    hidden_places = np.arange(LANES) * (heads * dim)
    factors = np.empty(heads * LANES if threshold else 0, q.dtype)
    k_places, v_places = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    x_places, bias_places = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    k_coming, v_coming, x_coming = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    nothing = k_coming[:0]
    top, total = np.empty(heads, q.dtype), np.empty(heads, q.dtype)
    for row in range(first, last):
        query = np.int64(row_of[row]) if row_of.size else np.int64(row)
        out_row, edge_out_row = np.int64(row) * heads * value_dim, np.int64(row) * heads * edge_dim
        for h in range(heads):
            top[h] = -np.inf
            total[h] = 0
        for start in range(rowptr[row], rowptr[row + 1], BLOCK):
            count = min(BLOCK, rowptr[row + 1] - start)
            find_places(k_places, col, start, count, k_width)
            find_places(v_places, col, start, count, v_width)
            if edge_dim:
                find_places(x_places, edge_id, start, count, edge_dim)
            if bias.size:
                find_places(bias_places, edge_id, start, count, bias_heads)
            for e in range(0, count, LANES):
                find_coming(k_coming, col, start + e, k_width)
                if edge_dim:
                    find_coming(x_coming, edge_id, start + e, edge_dim)
                score_eight(
                    scores, BLOCK, e, hidden, hidden_places, query, k_places, k_coming, x_places, x_coming, bias_places, q, k,
                    bias, u, x, vector, edge_weight, activation, heads, kv_heads, dim, edge_dim, scale, bias_heads,
                )  # fmt: skip
            for h in range(heads):
                weights_of_block(
                    scores, h, count, start == rowptr[row], normalizer, top, total, out, out_row + h * value_dim, value_dim,
                    edge_out, edge_out_row + h * edge_dim, edge_dim,
                )  # fmt: skip
            for e in range(0, count, LANES):
                find_coming(v_coming, col, start + e, v_width)
                if threshold:
                    left = min(LANES, count - e)
                    keep_factors(factors, start + e, left, query, col, repeat, heads, seed, threshold, keep_scale)
                    for h in range(heads):
                        factor = first_lanes(lanes_at(factors, h * LANES), count - e)
                        put_lanes(lanes_at(scores, h * BLOCK + e) * factor, scores, h * BLOCK + e)
                add_heads(scores, BLOCK, e, v, v_places, e, v_coming, out, out_row, kv_heads, group, value_dim)
                if edge_dim:
                    add_heads(scores, BLOCK, e, x, x_places, e, nothing, edge_out, edge_out_row, 1, heads, edge_dim)
        if normalizer == SOFTMAX:
            for h in range(heads):
                lse[row * heads + h] = top[h] + np.log(total[h]) if total[h] != 0 else -np.inf
                share = kind(1) / total[h] if total[h] != 0 else kind(0)
                for c in range(value_dim):
                    out[out_row + h * value_dim + c] *= share
                for c in range(edge_dim):
                    edge_out[edge_out_row + h * edge_dim + c] *= share
