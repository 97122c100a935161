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
from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.edges_cpu_dropout import keep_factors
from graphattn.kernels.edges_cpu_leaky import leaky_heads
from graphattn.kernels.edges_cpu_tables import add_heads, dot_heads, find_places, prefetch_rows
from graphattn.kernels.vectors import (
    LANES,
    exponentials,
    filled,
    first_lanes,
    gathered,
    in_eights,
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
def needs_hidden(vector, edge_weight, activation):
    """Whether the score is additive and its hidden vectors are kept in memory."""
    return vector.size > 0 and (edge_weight.size > 0 or activation != LEAKY_RELU)


@inlined
def score_eight(
    scores, step, first, hidden, hidden_places, query, k_places, x_places, bias_places, q, k, bias, u, x,
    vector, edge_weight, activation, heads, kv_heads, dim, edge_dim, scale, bias_heads,
):  # fmt: skip
    """scores[h * step + first + lane] of the edges at places first ... first + 7; the additive score may leave `hidden`.

    Where each head has one hidden number, what is left is that of key and edge, before the query is added.
    """
    group, q_here = heads // kv_heads, address_of(q, query * heads * dim)
    to, k_here, k_coming = address_of(scores, first), address_of(k_places, first), address_of(k_places, first + LANES)
    one_number = is_one_number(vector, activation, heads, kv_heads)
    if hidden.size or one_number:
        prefetch_rows(k, k_coming, kv_heads * dim)
    if hidden.size and one_number:
        keys_with_edges(hidden, k, k_places, first, x, x_places, edge_weight, heads, edge_dim)
        leaky_numbers(to, step, vector, q_here, hidden, hidden_places, heads, scale)
    elif hidden.size:
        fill_hidden(
            hidden, q, query * heads * dim, 1, k, k_places, group, x, x_places, first, edge_weight, activation,
            heads, dim, edge_dim,
        )  # fmt: skip
        dot_heads(to, step, vector, hidden, hidden_places, None, heads, 1, dim, scale, False)
    elif one_number:
        leaky_numbers(to, step, vector, q_here, k, k_here, heads, scale)
    elif vector.size:
        leaky_heads(to, step, vector, q_here, k, k_here, k_coming, heads, group, dim, scale)
    else:
        dot_heads(to, step, q_here, k, k_here, k_coming, heads, group, dim, scale, False)
    if edge_dim:
        x_coming = address_of(x_places, first + LANES)
        if u.size:
            u_here, x_here = address_of(u, query * heads * edge_dim), address_of(x_places, first)
            dot_heads(to, step, u_here, x, x_here, x_coming, heads, heads, edge_dim, scale, True)
        else:
            prefetch_rows(x, x_coming, edge_dim)
    if bias.size:
        for h in range(heads):
            at = h * step + first
            put_lanes(lanes_at(scores, at) + gathered(bias, bias_places, first, h if bias_heads > 1 else 0), scores, at)


@inner
def weights_of_block(
    scores, h, count, is_first, normalizer, top, total, out, out_at, value_dim, edge_out, edge_out_at, edge_dim
):
    """Turns the scores of one head in a block into weights; softmax keeps a running maximum and total over blocks."""
    kind = scores.dtype.type
    at, padded = h * BLOCK, in_eights(count)
    if normalizer != SOFTMAX:
        for i in range(at, at + padded, LANES):
            s = lanes_at(scores, i)
            s = (
                where_at_least(kind(0), s, kind(0), s)
                if normalizer == RELU
                else kind(1) / (exponentials(kind(0) - s) + kind(1))
            )
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
    scores = np.empty(in_eights(heads) * BLOCK, q.dtype)
    hidden = np.empty(LANES * heads * dim if needs_hidden(vector, edge_weight, activation) else 0, q.dtype)
    hidden_places = np.arange(LANES) * (heads * dim)
    factors = np.empty(heads * LANES if threshold else 0, q.dtype)
    k_places = np.empty(BLOCK + LANES, np.int64)
    v_places = np.empty(BLOCK + LANES, np.int64) if v_width != k_width else k_places
    x_places, bias_places = np.empty(BLOCK + LANES, np.int64), np.empty(BLOCK + LANES, np.int64)
    top, total = np.empty(heads, q.dtype), np.empty(heads, q.dtype)
    for row in range(first, last):
        query = np.int64(row_of[row]) if row_of.size else np.int64(row)
        out_row, edge_out_row = np.int64(row) * heads * value_dim, np.int64(row) * heads * edge_dim
        for h in range(heads):
            top[h] = -np.inf
            total[h] = 0
        for start in range(rowptr[row], rowptr[row + 1], BLOCK):
            count = min(BLOCK, rowptr[row + 1] - start)
            for e in range(0, count, LANES):
                find_places(k_places, e, col, start + e, count - e, k_width)
                if v_width != k_width:
                    find_places(v_places, e, col, start + e, count - e, v_width)
                if edge_dim:
                    find_places(x_places, e, edge_id, start + e, count - e, edge_dim)
                if bias.size:
                    find_places(bias_places, e, edge_id, start + e, count - e, bias_heads)
                score_eight(
                    scores, BLOCK, e, hidden, hidden_places, query, k_places, x_places, bias_places, q, k, bias, u, x,
                    vector, edge_weight, activation, heads, kv_heads, dim, edge_dim, scale, bias_heads,
                )  # fmt: skip
            for h in range(heads):
                weights_of_block(
                    scores, h, count, start == rowptr[row], normalizer, top, total, out, out_row + h * value_dim, value_dim,
                    edge_out, edge_out_row + h * edge_dim, edge_dim,
                )  # fmt: skip
            for e in range(0, count, LANES):
                if threshold:
                    left = min(LANES, count - e)
                    keep_factors(factors, start + e, left, query, col, repeat, heads, seed, threshold, keep_scale)
                    for h in range(heads):
                        factor = first_lanes(lanes_at(factors, h * LANES), count - e)
                        put_lanes(lanes_at(scores, h * BLOCK + e) * factor, scores, h * BLOCK + e)
                weights, to = address_of(scores, e), address_of(out, out_row)
                v_here, v_coming = address_of(v_places, e), address_of(v_places, e + LANES)
                add_heads(weights, BLOCK, v, v_here, v_coming, to, heads, group, value_dim)
                if edge_dim:
                    x_here, to = address_of(x_places, e), address_of(edge_out, edge_out_row)
                    add_heads(weights, BLOCK, x, x_here, None, to, heads, heads, edge_dim)
        if normalizer == SOFTMAX:
            for h in range(heads):
                lse[row * heads + h] = top[h] + np.log(total[h]) if total[h] != 0 else -np.inf
                share = kind(1) / total[h] if total[h] != 0 else kind(0)
                for c in range(value_dim):
                    out[out_row + h * value_dim + c] *= share
                for c in range(edge_dim):
                    edge_out[edge_out_row + h * edge_dim + c] *= share
