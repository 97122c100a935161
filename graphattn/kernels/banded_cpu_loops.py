"""Compiled passes over bands: forward, and backward once with queries in the lanes and once with keys.

All arrays are flat. A run (see banded_cpu_runs) has some neighbouring nodes in the lanes, tile by tile, and the nodes that they
see as rows: lane i sees the rows low + i ... low + i + window that there are. Runs are computed head by head. Rows come in
chunks, copied side by side once for all tiles; a tile goes through them block by block, under a running maximum as in Dao et
al. 2022 (FlashAttention).
"""

import numpy as np

from graphattn.kernels.banded_cpu_runs import NUMBERS_OF_A_RUN
from graphattn.kernels.banded_cpu_tiles import (
    ROWS,
    TILE,
    add_by_distance,
    add_rows,
    copy_rows,
    dot_rows,
    from_lanes,
    room_for,
    to_lanes,
)
from graphattn.kernels.compiled import compiled
from graphattn.kernels.edges_cpu_builder import address_of
from graphattn.kernels.vectors import WIDE, exponentials, inlined, inner, put_lanes, where_at_least, wide_at

TILES = 8  # of a run: with more, their chunks are copied less often, until tiles and chunk do not fit the second cache
RUN = TILES * TILE  # lanes
CHUNK = 256  # rows
BLOCK = 32  # rows
# Numbers before and after those of the steps in a table of what is added to scores, -inf for rows out of reach.
MARGIN = TILE + ROWS
LOWEST = np.float32(-1e38)  # a score before the first; unlike -inf it can be subtracted from itself


@inlined
def run_of(runs, item, heads):
    """First node of lanes, lanes, first node of rows, rows, the row `low`; and the head."""
    at = item // heads * NUMBERS_OF_A_RUN
    return runs[at], runs[at + 1], runs[at + 2], runs[at + 3], runs[at + 4], item % heads


@inlined
def tiles_of(lanes):
    return (lanes + TILE - 1) // TILE


@inlined
def put_in_lanes(tiles, table, node, lanes, step, heads, h, size):
    """The tiles of a run, from a table [nodes, heads, size]."""
    for t in range(tiles_of(lanes)):
        here = address_of(table, ((node + t * TILE * step) * heads + h) * size)
        to_lanes(address_of(tiles, t * room_for(size)), here, step * heads * size, size, lanes - t * TILE)


@inlined
def take_from_lanes(table, tiles, node, lanes, step, heads, h, size, factors):
    """The way back, each lane times its factor."""
    for t in range(tiles_of(lanes)):
        here, count = address_of(table, ((node + t * TILE * step) * heads + h) * size), min(TILE, lanes - t * TILE)
        tile, factor = address_of(tiles, t * room_for(size)), address_of(factors, t * TILE)
        from_lanes(here, step * heads * size, size, count, tile, factor)


@inlined
def copy_chunk(rows, table, node, count, step, heads, h, size, sign):
    """Rows of a table [nodes, heads, size]; `sign` as in copy_rows."""
    copy_rows(rows, address_of(table, (node * heads + h) * size), step * heads * size, size, count, sign)


@inlined
def rows_of_run(low, lanes, window, num_rows):
    """First row and the one after the last."""
    return max(0, low), min(num_rows, low + lanes + window)


@inlined
def is_cut(start, count, low, window):
    """Whether some lane does not see some of the rows start ... start + count - 1."""
    return start < low + TILE - 1 or start + count - 1 > low + window


@inlined
def place_of_added(added_of_head, start, low, window):
    """Of row `start` and lane 0 of a tile in `added`."""
    return added_of_head * (window + 1 + 2 * MARGIN) + MARGIN + window + low - start


@inner
def weights_of_block(scores, count, top, total, at, shrink):
    """Scores become weights under a running maximum; `shrink` is by how much this lessens all weights before."""
    for n in range(0, TILE, WIDE):
        before = wide_at(top, at + n)
        most = before
        for i in range(n, n + count * TILE, TILE):
            s = wide_at(scores, i)
            most = where_at_least(most, s, most, s)
        less = exponentials(before - most)
        sums = less * wide_at(total, at + n)
        for i in range(n, n + count * TILE, TILE):
            weight = exponentials(wide_at(scores, i) - most)
            sums = sums + weight
            put_lanes(weight, scores, i)
        put_lanes(most, top, at + n)
        put_lanes(sums, total, at + n)
        put_lanes(less, shrink, n)


@inner
def gradients_by_lane(scores, grads, count, lse, delta, at):
    """Scores become weights, the gradients of weights those of scores; each lane has its lse and delta."""
    for n in range(0, TILE, WIDE):
        of_lanes, less = wide_at(lse, at + n), wide_at(delta, at + n)
        for i in range(n, n + count * TILE, TILE):
            weight = exponentials(wide_at(scores, i) - of_lanes)
            put_lanes(weight, scores, i)
            put_lanes(weight * (wide_at(grads, i) - less), grads, i)


@inner
def gradients_by_row(scores, grads, count, lse, delta, at):
    """The same where each row has its own."""
    for r in range(count):
        for i in range(r * TILE, r * TILE + TILE, WIDE):
            weight = exponentials(wide_at(scores, i) - lse[at + r])
            put_lanes(weight, scores, i)
            put_lanes(weight * (wide_at(grads, i) - delta[at + r]), grads, i)


@compiled
def forward_runs(
    first, last, runs, step, window, added, heads_added, q, k, v, heads, kv_heads, dim, value_dim, scale, out, lse
):
    """Queries in the lanes: fills out and lse. False if a key or value near a query is not finite.

    `heads_added` counts the heads of `added`, 0 where it only hides rows.
    """
    kind, of_dim, of_value = q.dtype.type, room_for(dim), room_for(value_dim)
    queries, sums = np.empty(TILES * of_dim, q.dtype), np.empty(TILES * of_value, q.dtype)
    keys, values = np.empty((CHUNK + ROWS) * dim, q.dtype), np.empty((CHUNK + ROWS) * value_dim, q.dtype)
    scores, shrink = np.empty((BLOCK + ROWS) * TILE, q.dtype), np.empty(TILE, q.dtype)
    top, total, sign = np.empty(RUN, q.dtype), np.empty(RUN, q.dtype), np.zeros(WIDE, q.dtype)
    for item in range(first, last):
        node, lanes, row_node, num_rows, low, h = run_of(runs, item, heads)
        g, added_of_head = h // (heads // kv_heads), h if heads_added > 1 else 0
        put_in_lanes(queries, q, node, lanes, step, heads, h, dim)
        sums[:] = kind(0)
        top[:] = LOWEST
        total[:] = kind(0)
        start_of_run, end_of_run = rows_of_run(low, lanes, window, num_rows)
        for chunk in range(start_of_run, end_of_run, CHUNK):
            end = min(end_of_run, chunk + CHUNK)
            copy_chunk(keys, k, row_node + chunk * step, end - chunk, step, kv_heads, g, dim, sign)
            copy_chunk(values, v, row_node + chunk * step, end - chunk, step, kv_heads, g, value_dim, sign)
            for t in range(tiles_of(lanes)):
                low_of_tile = low + t * TILE
                end_of_tile = min(end, low_of_tile + TILE + window)
                for start in range(max(chunk, low_of_tile), end_of_tile, BLOCK):
                    count, at = min(BLOCK, end_of_tile - start), start - chunk
                    is_added = heads_added > 0 or is_cut(start, count, low_of_tile, window)
                    bias = address_of(added, place_of_added(added_of_head, start, low_of_tile, window))
                    tile, rows = address_of(queries, t * of_dim), address_of(keys, at * dim)
                    dot_rows(scores, rows, dim, count, tile, scale, bias, is_added)
                    weights_of_block(scores, count, top, total, t * TILE, shrink)
                    tile, rows = address_of(sums, t * of_value), address_of(values, at * value_dim)
                    add_rows(tile, rows, value_dim, count, scores, shrink)
        for lane in range(lanes):
            x = total[lane]
            lse[(node + lane * step) * heads + h] = top[lane] + np.log(x) if x != 0 else -np.inf
            total[lane] = kind(1) / x if x != 0 else kind(0)
        take_from_lanes(out, sums, node, lanes, step, heads, h, value_dim, total)
    return not np.isnan(sign.sum())


@compiled
def backward_by_query(
    first, last, runs, step, window, added, heads_added, q, k, v, heads, kv_heads, dim, value_dim, scale, lse, delta,
    grad_out, grad_q, grad_added,
):  # fmt: skip
    """Queries in the lanes: fills the gradient of q, and adds to that of `added`, if it has one."""
    kind, of_dim, of_value = q.dtype.type, room_for(dim), room_for(value_dim)
    queries, sums = np.empty(TILES * of_dim, q.dtype), np.empty(TILES * of_dim, q.dtype)
    grads_out = np.empty(TILES * of_value, q.dtype)
    keys, values = np.empty((CHUNK + ROWS) * dim, q.dtype), np.empty((CHUNK + ROWS) * value_dim, q.dtype)
    scores, grads = np.empty((BLOCK + ROWS) * TILE, q.dtype), np.empty((BLOCK + ROWS) * TILE, q.dtype)
    lse_of, delta_of = np.empty(RUN, q.dtype), np.empty(RUN, q.dtype)
    factors = np.full(RUN, scale)
    for item in range(first, last):
        node, lanes, row_node, num_rows, low, h = run_of(runs, item, heads)
        g, added_of_head = h // (heads // kv_heads), h if heads_added > 1 else 0
        put_in_lanes(queries, q, node, lanes, step, heads, h, dim)
        put_in_lanes(grads_out, grad_out, node, lanes, step, heads, h, value_dim)
        sums[:] = kind(0)
        lse_of[:] = np.inf  # lanes without a query have weights of 0
        delta_of[:] = kind(0)
        for lane in range(lanes):
            lse_of[lane] = lse[(node + lane * step) * heads + h]
            delta_of[lane] = delta[(node + lane * step) * heads + h]
        start_of_run, end_of_run = rows_of_run(low, lanes, window, num_rows)
        for chunk in range(start_of_run, end_of_run, CHUNK):
            end = min(end_of_run, chunk + CHUNK)
            copy_chunk(keys, k, row_node + chunk * step, end - chunk, step, kv_heads, g, dim, None)
            copy_chunk(values, v, row_node + chunk * step, end - chunk, step, kv_heads, g, value_dim, None)
            for t in range(tiles_of(lanes)):
                low_of_tile = low + t * TILE
                end_of_tile = min(end, low_of_tile + TILE + window)
                for start in range(max(chunk, low_of_tile), end_of_tile, BLOCK):
                    count, at = min(BLOCK, end_of_tile - start), start - chunk
                    is_added = heads_added > 0 or is_cut(start, count, low_of_tile, window)
                    at_added = place_of_added(added_of_head, start, low_of_tile, window)
                    bias, rows = address_of(added, at_added), address_of(keys, at * dim)
                    dot_rows(scores, rows, dim, count, address_of(queries, t * of_dim), scale, bias, is_added)
                    tile, rows_of_v = address_of(grads_out, t * of_value), address_of(values, at * value_dim)
                    dot_rows(grads, rows_of_v, value_dim, count, tile, kind(1), bias, False)
                    gradients_by_lane(scores, grads, count, lse_of, delta_of, t * TILE)
                    add_rows(address_of(sums, t * of_dim), rows, dim, count, grads, None)
                    if grad_added.size:
                        add_by_distance(address_of(grad_added, at_added), grads, count)
        take_from_lanes(grad_q, sums, node, lanes, step, heads, h, dim, factors)


@compiled
def backward_by_key(
    first, last, runs, step, window, added, heads_added, q, k, v, heads, kv_heads, dim, value_dim, scale, lse, delta,
    grad_out, grad_k, grad_v,
):  # fmt: skip
    """Keys in the lanes, head by head of those that share them: fills the gradients of k and v."""
    kind, group, of_dim, of_value = q.dtype.type, heads // kv_heads, room_for(dim), room_for(value_dim)
    keys, k_sums = np.empty(TILES * of_dim, q.dtype), np.empty(TILES * of_dim, q.dtype)
    values, v_sums = np.empty(TILES * of_value, q.dtype), np.empty(TILES * of_value, q.dtype)
    queries, grads_out = np.empty((CHUNK + ROWS) * dim, q.dtype), np.empty((CHUNK + ROWS) * value_dim, q.dtype)
    scores, grads = np.empty((BLOCK + ROWS) * TILE, q.dtype), np.empty((BLOCK + ROWS) * TILE, q.dtype)
    lse_of, delta_of = np.empty(CHUNK, q.dtype), np.empty(CHUNK, q.dtype)
    factors, ones = np.full(RUN, scale), np.full(RUN, kind(1))
    for item in range(first, last):
        node, lanes, row_node, num_rows, low, g = run_of(runs, item, kv_heads)
        put_in_lanes(keys, k, node, lanes, step, kv_heads, g, dim)
        put_in_lanes(values, v, node, lanes, step, kv_heads, g, value_dim)
        k_sums[:] = kind(0)
        v_sums[:] = kind(0)
        start_of_run, end_of_run = rows_of_run(low, lanes, window, num_rows)
        for h in range(g * group, g * group + group):
            added_of_head = h if heads_added > 1 else 0
            for chunk in range(start_of_run, end_of_run, CHUNK):
                end, first_node = min(end_of_run, chunk + CHUNK), row_node + chunk * step
                copy_chunk(queries, q, first_node, end - chunk, step, heads, h, dim, None)
                copy_chunk(grads_out, grad_out, first_node, end - chunk, step, heads, h, value_dim, None)
                for r in range(end - chunk):
                    lse_of[r] = lse[(first_node + r * step) * heads + h]
                    delta_of[r] = delta[(first_node + r * step) * heads + h]
                for t in range(tiles_of(lanes)):
                    low_of_tile = low + t * TILE
                    end_of_tile = min(end, low_of_tile + TILE + window)
                    for start in range(max(chunk, low_of_tile), end_of_tile, BLOCK):
                        count, at = min(BLOCK, end_of_tile - start), start - chunk
                        is_added = heads_added > 0 or is_cut(start, count, low_of_tile, window)
                        bias = address_of(added, place_of_added(added_of_head, start, low_of_tile, window))
                        rows, rows_of_out = address_of(queries, at * dim), address_of(grads_out, at * value_dim)
                        dot_rows(scores, rows, dim, count, address_of(keys, t * of_dim), scale, bias, is_added)
                        tile = address_of(values, t * of_value)
                        dot_rows(grads, rows_of_out, value_dim, count, tile, kind(1), bias, False)
                        gradients_by_row(scores, grads, count, lse_of, delta_of, at)
                        add_rows(address_of(k_sums, t * of_dim), rows, dim, count, grads, None)
                        add_rows(address_of(v_sums, t * of_value), rows_of_out, value_dim, count, scores, None)
        take_from_lanes(grad_k, k_sums, node, lanes, step, kv_heads, g, dim, factors)
        take_from_lanes(grad_v, v_sums, node, lanes, step, kv_heads, g, value_dim, ones)
