"""The additive score with hidden vectors in memory, vector · activation(query + key + edge_weight @ edge features).

Eight edges at a time, `hidden` [8 * heads * dim]. For LeakyReLU without an edge weight there is edges_cpu_leaky.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from graphattn.kernels.edges_cpu_leaky import SLOPE, signs_of
from graphattn.kernels.edges_cpu_tables import Builder, dot_rows
from graphattn.kernels.vectors import (
    INT64,
    LANES,
    inlined,
    inner,
    lanes_at,
    load,
    put_lanes,
    spread,
    store,
    tanhs,
    where_at_least,
)

TANH, LEAKY_RELU = 0, 1


@inner
def fill_hidden(
    hidden, near, near_at, near_group, table, places, group, x, x_places, first, edge_weight, activation, heads, dim, edge_dim
):  # fmt: skip
    """Activated hidden vectors of eight edges: the vectors of the one node that they share and of the eight at the other end.

    The latter start at table[places[first + lane]], edge features at x[x_places[first + lane]]. `near_group` heads share a
    vector of the near node, `group` heads one of the others.
    """
    width = heads * dim
    for lane in range(LANES):
        at, near_here, row = lane * width, near_at, places[first + lane]
        for h in range(1, heads + 1):
            add_two(hidden, at + (h - 1) * dim, near, near_here, table, row, dim)
            near_here += dim if near_group == 1 or h % near_group == 0 else 0
            row += dim if group == 1 or h % group == 0 else 0
        if edge_weight.size:
            add_combination(x, x_places[first + lane], 1, edge_weight, 0, width, edge_dim, hidden, at, width)
    zero, slope, one = hidden.dtype.type(0), hidden.dtype.type(SLOPE), hidden.dtype.type(1)
    for at in range(0, LANES * width, LANES):
        row = lanes_at(hidden, at)
        put_lanes(tanhs(row) if activation == TANH else row * where_at_least(zero, row, slope, one), hidden, at)


@inlined
def add_two(to, to_at, x, x_at, y, y_at, size):
    """to = x + y."""
    whole = size - size % LANES
    for i in range(0, whole, LANES):
        put_lanes(lanes_at(x, x_at + i) + lanes_at(y, y_at + i), to, to_at + i)
    for i in range(whole, size):
        to[to_at + i] = x[x_at + i] + y[y_at + i]


@inner
def to_gradients(hidden, grads, vector, grad_vector, heads, dim, activation):
    """Replaces activated hidden vectors by their gradients before activation; adds up the gradient of `vector`.

    grads [heads * 8] are those of the scores.
    """
    zero, one, slope = hidden.dtype.type(0), hidden.dtype.type(1), hidden.dtype.type(SLOPE)
    width, whole = heads * dim, dim - dim % LANES
    for h in range(heads):
        for lane in range(LANES):
            grad, at = grads[h * LANES + lane], lane * width + h * dim
            for c in range(0, whole, LANES):
                row, here = lanes_at(hidden, at + c), h * dim + c
                if grad_vector.size:
                    put_lanes(lanes_at(grad_vector, here) + row * grad, grad_vector, here)
                factor = one - row * row if activation == TANH else where_at_least(zero, row, slope, one)
                put_lanes(factor * lanes_at(vector, here) * grad, hidden, at + c)
            for c in range(whole, dim):
                number = hidden[at + c]
                if grad_vector.size:
                    grad_vector[h * dim + c] += number * grad
                factor = one - number * number if activation == TANH else (one if number > 0 else slope)
                hidden[at + c] = factor * vector[h * dim + c] * grad


@inner
def write_signs(hidden, bits, bits_at, count, heads, dim):
    """The signs of the hidden numbers of `count` edges, in the form of edges_cpu_leaky.add_leaky_gradients."""
    at, whole = 0, dim - dim % LANES
    for _ in range(count * heads):
        for _ in range(0, whole, LANES):
            bits[bits_at] = signs_of(lanes_at(hidden, at))
            bits_at += 1
            at += LANES
        if whole < dim:
            bits[bits_at] = 0
            for c in range(dim - whole):
                bits[bits_at] |= np.uint8((1 if hidden[at + c] > 0 else 0) << c)
            bits_at += 1
            at += dim - whole


@inner
def add_hidden(hidden, count, y, y_at, kv_heads, group, dim):
    """y [kv_heads * dim] += the vectors of the first `count` edges, with heads of a group added up."""
    at = 0
    for _ in range(count):
        for g in range(kv_heads):
            for _ in range(group):
                add_two(y, y_at + g * dim, y, y_at + g * dim, hidden, at, dim)
                at += dim


@inner
def feature_gradients(hidden, hidden_places, edge_weight, grad_x, x_places, first, count, width, edge_dim, by_edge):
    """Adds to the gradients of the features of `count` edges, from those of their hidden vectors; by_edge [8] is scratch."""
    for d in range(edge_dim):
        put_lanes(dot_rows(edge_weight, d * width, hidden, hidden_places, 0, 0, width), by_edge, 0)
        for lane in range(count):
            grad_x[x_places[first + lane] + d] += by_edge[lane]


@inner
def edge_weight_gradient(hidden, x, x_places, first, features, grad_edge_weight, width, edge_dim):
    """grad_edge_weight [edge_dim, width] += features^T @ hidden over eight edges; `features` [8 * edge_dim] is scratch."""
    for lane in range(LANES):
        for d in range(edge_dim):
            features[lane * edge_dim + d] = x[x_places[first + lane] + d]
    for d in range(edge_dim):
        add_combination(features, d, edge_dim, hidden, 0, width, LANES, grad_edge_weight, d * width, width)


def make_add_combination(lanes: int):
    @intrinsic
    def add_combination_lanes(typing, factors, start, step, x, x_start, x_step, count, y, y_start):
        def generate(context, builder, signature, args):
            b = Builder(context, builder, signature, args)
            factors, start, step, x, x_start, x_step, count, y, y_start = b.args
            factors, x, y = b.address(factors, start), b.address(x, x_start), b.address(y, y_start)
            parts = [b.address(y, INT64(part)) for part in range(0, lanes, LANES)]
            totals = [b.variable(load(builder, part)) for part in parts]  # LLVM keeps them in registers
            with cgutils.for_range(builder, count) as loop:
                factor = spread(builder, b.number(factors, builder.mul(step, loop.index)))
                row = b.address(x, builder.mul(x_step, loop.index))
                for part, total in enumerate(totals):
                    b.add_to(total, factor, load(builder, b.address(row, INT64(part * LANES))))
            for part, total in zip(parts, totals, strict=True):
                store(builder, builder.load(total), part)
            return context.get_dummy_value()

        long = types.int64
        return types.void(factors, long, long, x, long, long, long, y, long), generate

    return add_combination_lanes


add_combination8, add_combination64 = make_add_combination(8), make_add_combination(64)


@inlined
def add_combination(factors, start, step, x, x_start, x_step, count, y, y_start, size):
    """y += the sum over i < count of factors[start + i * step] * x[x_start + i * x_step ...], `size` numbers each."""
    at = 0
    while at + 64 <= size:
        add_combination64(factors, start, step, x, x_start + at, x_step, count, y, y_start + at)
        at += 64
    while at + 8 <= size:
        add_combination8(factors, start, step, x, x_start + at, x_step, count, y, y_start + at)
        at += 8
    while at < size:
        for i in range(count):
            y[y_start + at] += factors[start + i * step] * x[x_start + i * x_step + at]
        at += 1
