"""Triton programs over the rows of a CSR: fused forward, and a backward of two passes that needs no atomics.

A program has a piece of a row (see edges_cuda_layout) and a block of its heads, and reads BLOCK_E edges at a time. Names in
capitals are compiled in: sizes, and HEAD_BLOCK, DIM_BLOCK, ... the powers of two that hold them. `scale` and
`keep_scale` are float64 so that a float64 score is exact.
"""

import triton
import triton.language as tl

from graphattn.kernels.cuda.edge_pieces import (
    activated,
    before_activation,
    keep_factors,
    load_edges,
    load_features,
    load_piece,
    load_row,
    load_rows,
    number,
    numbers_of,
    piece_scores,
    store_row,
    unscaled_sum_weights,
)


@triton.jit
def forward_rows(
    pieces, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight, out, lse, edge_out, seed,
    scale: tl.float64, keep_scale: tl.float64, threshold: tl.int64,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, VALUE_DIM: tl.constexpr, EDGE_DIM: tl.constexpr,
    BIAS_HEADS: tl.constexpr, TANH: tl.constexpr, NORMALIZER: tl.constexpr, ACC: tl.constexpr,
    HEAD_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr, EDGE_BLOCK: tl.constexpr,
    BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Fills out, lse and edge_out at the slot of each piece; softmax keeps a running maximum."""
    start, end, query, slot = load_piece(pieces)
    head = tl.program_id(1) * HEAD_BLOCK + tl.arange(0, HEAD_BLOCK)
    channel, value_channel = tl.arange(0, DIM_BLOCK), tl.arange(0, VALUE_BLOCK)
    edge_channel = tl.arange(0, EDGE_BLOCK)
    scale = number(scale, ACC)
    query_row = load_row(q, query, head, channel, HEADS, DIM, ACC)
    edge_query = None
    if u is not None:
        edge_query = load_row(u, query, head, edge_channel, HEADS, EDGE_DIM, ACC)
    top = tl.full([HEAD_BLOCK], float("-inf"), ACC)
    total = tl.zeros([HEAD_BLOCK], ACC)
    sums = tl.zeros([HEAD_BLOCK, VALUE_BLOCK], ACC)
    edge_sums = tl.zeros([HEAD_BLOCK, EDGE_BLOCK], ACC)
    for first in range(start, end, BLOCK_E):
        places, is_edge, keys, edges = load_edges(col, edge_id, first, end, BLOCK_E)
        near = load_rows(k, keys, is_edge, HEADS, GROUP, DIM, HEAD_BLOCK, DIM_BLOCK, ACC)
        values = load_rows(v, keys, is_edge, HEADS, GROUP, VALUE_DIM, HEAD_BLOCK, VALUE_BLOCK, ACC)
        scores, _ = piece_scores(
            query_row, edge_query, near, edges, is_edge, bias, x, vector, edge_weight, scale, head, channel,
            edge_channel, HEADS, DIM, EDGE_DIM, BIAS_HEADS, TANH, ACC,
        )  # fmt: skip
        if NORMALIZER == "softmax":
            new_top = tl.maximum(top, tl.max(scores, 0))
            finite = tl.where(new_top == float("-inf"), 0.0, new_top)
            weights = tl.exp(scores - finite[None, :])
            shrink = tl.exp(top - finite)
            top = new_top
            total = total * shrink + tl.sum(weights, 0)
            sums = sums * shrink[:, None]
            edge_sums = edge_sums * shrink[:, None]
        else:
            weights = unscaled_sum_weights(scores, NORMALIZER == "relu")
        if seed is not None:
            kept = number(keep_scale, ACC)
            weights *= keep_factors(seed, query, keys, places, is_edge, repeat, head, threshold, kept, ACC)
        sums += tl.sum(weights[:, :, None] * values, 0)
        if x is not None:
            features = load_features(x, edges, is_edge, edge_channel, EDGE_DIM, ACC)
            edge_sums += tl.sum(weights[:, :, None] * features[:, None, :], 0)
    if NORMALIZER == "softmax":
        share = tl.where(total == 0, 0.0, 1 / tl.where(total == 0, 1.0, total))
        sums = sums * share[:, None]
        edge_sums = edge_sums * share[:, None]
        log_total = tl.log(tl.where(total == 0, 1.0, total)) + tl.where(total == 0, 0.0, top)
        log_total = tl.where(total == 0, float("-inf"), log_total)
        tl.store(lse + slot * HEADS + head, log_total, mask=head < HEADS)
    store_row(out, slot, head, value_channel, HEADS, VALUE_DIM, sums)
    if x is not None:
        store_row(edge_out, slot, head, edge_channel, HEADS, EDGE_DIM, edge_sums)


@triton.jit
def backward_rows(
    pieces, col, edge_id, repeat, q, k, v, bias, u, x, vector, edge_weight, lse, out, edge_out, grad_out, grad_edge_out,
    grad_q, grad_u, grad_x, grad_scores, weights_of, seed,
    scale: tl.float64, keep_scale: tl.float64, threshold: tl.int64, num_edges: tl.int64,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, VALUE_DIM: tl.constexpr, EDGE_DIM: tl.constexpr,
    BIAS_HEADS: tl.constexpr, TANH: tl.constexpr, NORMALIZER: tl.constexpr, ACC: tl.constexpr,
    HEAD_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr, EDGE_BLOCK: tl.constexpr,
    BLOCK_E: tl.constexpr,
):  # fmt: skip
    """The pass over queries: gradients of q, u and x; leaves the gradient of the score and the weight of every edge behind.

    `grad_scores` and `weights_of` are [edges, heads] in the order of the CSR; `grad_x` has a layer per block of heads.
    """
    start, end, query, slot = load_piece(pieces)
    head = tl.program_id(1) * HEAD_BLOCK + tl.arange(0, HEAD_BLOCK)
    channel, value_channel = tl.arange(0, DIM_BLOCK), tl.arange(0, VALUE_BLOCK)
    edge_channel = tl.arange(0, EDGE_BLOCK)
    scale = number(scale, ACC)
    query_row = load_row(q, query, head, channel, HEADS, DIM, ACC)
    grad_row = load_row(grad_out, query, head, value_channel, HEADS, VALUE_DIM, ACC)
    edge_query = None
    if u is not None:
        edge_query = load_row(u, query, head, edge_channel, HEADS, EDGE_DIM, ACC)
    if NORMALIZER == "softmax":
        log_total = tl.load(lse + query * HEADS + head, mask=head < HEADS, other=0)
        log_total = tl.where(log_total == float("-inf"), 0.0, log_total)
        mean_grad = tl.sum(grad_row * load_row(out, query, head, value_channel, HEADS, VALUE_DIM, ACC), 1)
    if x is not None:
        grad_edge_row = load_row(grad_edge_out, query, head, edge_channel, HEADS, EDGE_DIM, ACC)
        if NORMALIZER == "softmax":
            mean_grad += tl.sum(grad_edge_row * load_row(edge_out, query, head, edge_channel, HEADS, EDGE_DIM, ACC), 1)
    sums = tl.zeros([HEAD_BLOCK, DIM_BLOCK], ACC)
    edge_sums = tl.zeros([HEAD_BLOCK, EDGE_BLOCK], ACC)
    for first in range(start, end, BLOCK_E):
        places, is_edge, keys, edges = load_edges(col, edge_id, first, end, BLOCK_E)
        near = load_rows(k, keys, is_edge, HEADS, GROUP, DIM, HEAD_BLOCK, DIM_BLOCK, ACC)
        values = load_rows(v, keys, is_edge, HEADS, GROUP, VALUE_DIM, HEAD_BLOCK, VALUE_BLOCK, ACC)
        scores, made_of = piece_scores(
            query_row, edge_query, near, edges, is_edge, bias, x, vector, edge_weight, scale, head, channel,
            edge_channel, HEADS, DIM, EDGE_DIM, BIAS_HEADS, TANH, ACC,
        )  # fmt: skip
        grads = tl.sum(grad_row[None, :, :] * values, 2)
        if x is not None:
            features = load_features(x, edges, is_edge, edge_channel, EDGE_DIM, ACC)
            grads += tl.sum(grad_edge_row[None, :, :] * features[:, None, :], 2)
        if NORMALIZER == "softmax":
            weights = tl.exp(scores - log_total[None, :])
        else:
            weights = unscaled_sum_weights(scores, NORMALIZER == "relu")
        dropped = weights
        if seed is not None:
            kept = number(keep_scale, ACC)
            factors = keep_factors(seed, query, keys, places, is_edge, repeat, head, threshold, kept, ACC)
            grads *= factors
            dropped = weights * factors
        if NORMALIZER == "softmax":
            grads = weights * (grads - mean_grad[None, :])
        elif NORMALIZER == "relu":
            grads = tl.where(weights > 0, grads, 0.0)
        else:
            grads = weights * (1 - weights) * grads
        at = places[:, None] * HEADS + head[None, :]
        inside = is_edge[:, None] & (head < HEADS)[None, :]
        tl.store(grad_scores + at, grads, mask=inside)
        tl.store(weights_of + at, dropped, mask=inside)
        grads = tl.where(inside, grads * scale, 0.0)
        if vector is not None:
            made_of = before_activation(grads, made_of, vector, head, channel, HEADS, DIM, TANH, ACC)
            sums += tl.sum(made_of, 0)
        else:
            sums += tl.sum(grads[:, :, None] * made_of, 0)
        if x is not None:
            by_feature = tl.sum(dropped[:, :, None] * grad_edge_row[None, :, :], 1)
            if edge_query is not None:
                by_feature += tl.sum(grads[:, :, None] * edge_query[None, :, :], 1)
                edge_sums += tl.sum(grads[:, :, None] * features[:, None, :], 0)
            if edge_weight is not None:
                for d in range(EDGE_DIM):
                    column = load_row(edge_weight, d, head, channel, HEADS, DIM, ACC)
                    along = tl.sum(tl.sum(made_of * column[None, :, :], 2), 1)
                    by_feature += tl.where(edge_channel[None, :] == d, along[:, None], 0.0)
            layer = tl.program_id(1).to(tl.int64) * num_edges
            at = (layer + edges)[:, None] * EDGE_DIM + edge_channel[None, :]
            tl.store(grad_x + at, by_feature, mask=is_edge[:, None] & (edge_channel < EDGE_DIM)[None, :])
    store_row(grad_q, slot, head, channel, HEADS, DIM, sums)
    if u is not None:
        store_row(grad_u, slot, head, edge_channel, HEADS, EDGE_DIM, edge_sums)


@triton.jit
def backward_columns(
    pieces, col, place_of, edge_id, q, k, x, vector, edge_weight, grad_out, grad_scores, weights_of, grad_k, grad_v,
    scale: tl.float64,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, VALUE_DIM: tl.constexpr, EDGE_DIM: tl.constexpr,
    TANH: tl.constexpr, ACC: tl.constexpr,
    HEAD_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """The pass over keys (rows of the transposed CSR): gradients of k and v, per head, from what the first pass left."""
    start, end, key, slot = load_piece(pieces)
    head = tl.program_id(1) * HEAD_BLOCK + tl.arange(0, HEAD_BLOCK)
    channel, value_channel = tl.arange(0, DIM_BLOCK), tl.arange(0, VALUE_BLOCK)
    scale = number(scale, ACC)
    if vector is not None:
        here = tl.zeros([1], tl.int64)
        key_row = load_rows(k, here + key, here == 0, HEADS, GROUP, DIM, HEAD_BLOCK, DIM_BLOCK, ACC)
    key_sums = tl.zeros([HEAD_BLOCK, DIM_BLOCK], ACC)
    value_sums = tl.zeros([HEAD_BLOCK, VALUE_BLOCK], ACC)
    for first in range(start, end, BLOCK_E):
        entries = first + tl.arange(0, BLOCK_E).to(tl.int64)
        is_edge = entries < end
        queries = tl.load(col + entries, mask=is_edge, other=0).to(tl.int64)
        places = tl.load(place_of + entries, mask=is_edge, other=0).to(tl.int64)
        near = load_rows(q, queries, is_edge, HEADS, 1, DIM, HEAD_BLOCK, DIM_BLOCK, ACC)
        grad_rows = load_rows(grad_out, queries, is_edge, HEADS, 1, VALUE_DIM, HEAD_BLOCK, VALUE_BLOCK, ACC)
        at = places[:, None] * HEADS + head[None, :]
        inside = is_edge[:, None] & (head < HEADS)[None, :]
        grads = tl.load(grad_scores + at, mask=inside, other=0) * scale
        weights = tl.load(weights_of + at, mask=inside, other=0)
        if vector is not None:
            edges = numbers_of(edge_id, places, is_edge)
            hidden = near + key_row
            hidden = activated(hidden, edges, is_edge, x, edge_weight, head, channel, HEADS, DIM, EDGE_DIM, TANH, ACC)
            key_sums += tl.sum(before_activation(grads, hidden, vector, head, channel, HEADS, DIM, TANH, ACC), 0)
        else:
            key_sums += tl.sum(grads[:, :, None] * near, 0)
        value_sums += tl.sum(weights[:, :, None] * grad_rows, 0)
    store_row(grad_k, slot, head, channel, HEADS, DIM, key_sums)
    store_row(grad_v, slot, head, value_channel, HEADS, VALUE_DIM, value_sums)


@triton.jit
def backward_parameters(
    row, col, edge_id, q, k, x, vector, edge_weight, grad_scores, grad_vector, grad_edge_weight,
    scale: tl.float64, num_edges: tl.int64, share: tl.int64,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, EDGE_DIM: tl.constexpr,
    TANH: tl.constexpr, ACC: tl.constexpr, HEAD_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """The pass over edges: program i adds up the gradients of the additive score's parameters over `share` edges.

    `grad_vector` [programs, heads, dim] and `grad_edge_weight` [programs, edge_dim, heads, dim] are added to.
    """
    program = tl.program_id(0).to(tl.int64)
    head, channel = tl.program_id(1) * HEAD_BLOCK + tl.arange(0, HEAD_BLOCK), tl.arange(0, DIM_BLOCK)
    scale = number(scale, ACC)
    sums = tl.zeros([HEAD_BLOCK, DIM_BLOCK], ACC)
    end = tl.minimum((program + 1) * share, num_edges)
    for first in range(program * share, end, BLOCK_E):
        places, is_edge, keys, edges = load_edges(col, edge_id, first, end, BLOCK_E)
        queries = tl.load(row + places, mask=is_edge, other=0).to(tl.int64)
        at = places[:, None] * HEADS + head[None, :]
        grads = tl.load(grad_scores + at, mask=is_edge[:, None] & (head < HEADS)[None, :], other=0) * scale
        hidden = load_rows(q, queries, is_edge, HEADS, 1, DIM, HEAD_BLOCK, DIM_BLOCK, ACC)
        hidden += load_rows(k, keys, is_edge, HEADS, GROUP, DIM, HEAD_BLOCK, DIM_BLOCK, ACC)
        hidden = activated(hidden, edges, is_edge, x, edge_weight, head, channel, HEADS, DIM, EDGE_DIM, TANH, ACC)
        sums += tl.sum(grads[:, :, None] * hidden, 0)
        if edge_weight is not None:
            hidden = before_activation(grads, hidden, vector, head, channel, HEADS, DIM, TANH, ACC)
            for d in range(EDGE_DIM):
                feature = tl.load(x + edges * EDGE_DIM + d, mask=is_edge, other=0).to(ACC)
                slab = program * EDGE_DIM + d
                column = load_row(grad_edge_weight, slab, head, channel, HEADS, DIM, ACC)
                column += tl.sum(feature[:, None, None] * hidden, 0)
                store_row(grad_edge_weight, slab, head, channel, HEADS, DIM, column)
    store_row(grad_vector, program, head, channel, HEADS, DIM, sums)


@triton.jit
def join_pieces(
    cut_rows, lse, x, HEADS: tl.constexpr, DIM: tl.constexpr, IS_SOFTMAX: tl.constexpr, STORES_LSE: tl.constexpr,
    ACC: tl.constexpr, SLOTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x [slots, heads, channels]: the row of a node that was cut becomes the sum of the slots of its pieces.

    For softmax each piece counts by its share of the exponentials, as in parts.Merger.
    """
    cut = cut_rows + tl.program_id(0).to(tl.int64) * 3
    node, first, last = tl.load(cut), tl.load(cut + 1), tl.load(cut + 2)
    head = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    top = tl.full([1], float("-inf"), ACC)
    total = tl.zeros([1], ACC)
    sums = tl.zeros([BLOCK], ACC)
    for begin in range(first, last, SLOTS):
        slots = begin + tl.arange(0, SLOTS).to(tl.int64)
        is_slot = slots < last
        at = (slots * HEADS + head)[:, None] * DIM + channel[None, :]
        parts = tl.load(x + at, mask=is_slot[:, None] & (channel < DIM)[None, :], other=0)
        if IS_SOFTMAX:
            log_parts = tl.load(lse + slots * HEADS + head, mask=is_slot, other=float("-inf"))
            new_top = tl.maximum(top, tl.max(log_parts, 0))
            finite = tl.where(new_top == float("-inf"), 0.0, new_top)
            shrink, shares = tl.exp(top - finite), tl.exp(log_parts - finite)
            total = total * shrink + tl.sum(shares, 0)
            sums = sums * shrink + tl.sum(parts * shares[:, None], 0)
            top = new_top
        else:
            sums += tl.sum(parts, 0)
    if IS_SOFTMAX:
        sums = sums / tl.where(total == 0, 1.0, total)
        if STORES_LSE:
            log_total = tl.log(tl.where(total == 0, 1.0, total)) + top
            tl.store(lse + node * HEADS + head + tl.arange(0, 1), log_total)
    tl.store(x + (node * HEADS + head) * DIM + channel, sums, mask=channel < DIM)
