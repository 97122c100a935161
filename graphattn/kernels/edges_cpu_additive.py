"""The additive score with hidden vectors in memory, vector · activation(query + key + edge_weight @ edge features).

Eight edges at a time, `hidden` [8 * heads * dim]. For LeakyReLU without an edge weight there is edges_cpu_leaky.
"""

import numpy as np

from graphattn.kernels.edges_cpu_builder import Builder, Part, address_of, of_addresses
from graphattn.kernels.edges_cpu_leaky import SLOPE, signs_of
from graphattn.kernels.edges_cpu_tables import dot_heads
from graphattn.kernels.vectors import (
    INT64,
    LANES,
    ZERO,
    inlined,
    inner,
    lanes_at,
    put_lanes,
    spread,
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
            features = address_of(x, x_places[first + lane])
            add_combination(features, 1, edge_weight, width, edge_dim, address_of(hidden, at), width)
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
def feature_gradients(hidden, hidden_places, edge_weight, grad_x, x_places, count, width, edge_dim, features):
    """Adds to the gradients of the features of `count` edges, from those of their hidden vectors.

    `features` [8 * edge_dim] is scratch.
    """
    one = hidden.dtype.type(1)
    dot_heads(features, LANES, edge_weight, hidden, hidden_places, None, edge_dim, edge_dim, width, one, False)
    for d in range(edge_dim):
        for lane in range(count):
            grad_x[x_places[lane] + d] += features[d * LANES + lane]


@inner
def edge_weight_gradient(hidden, x, x_places, features, grad_edge_weight, width, edge_dim):
    """grad_edge_weight [edge_dim, width] += features^T @ hidden over eight edges; `features` [8 * edge_dim] is scratch."""
    for lane in range(LANES):
        for d in range(edge_dim):
            features[lane * edge_dim + d] = x[x_places[lane] + d]
    for d in range(edge_dim):
        to = address_of(grad_edge_weight, d * width)
        add_combination(address_of(features, d), edge_dim, hidden, width, LANES, to, width)


@of_addresses
def add_combination(b: Builder, factors, step, x, x_step, count, y, size):
    """y[: size] += the sum over i < count of factors[i * step] * x[i * x_step : i * x_step + size]."""

    def add(*parts):
        totals = [b.variable(part.load(y)) for part in parts]
        with b.each(ZERO, count, INT64(1)) as i:
            factor, row = spread(b.ir, b.number(factors, b.ir.mul(step, i))), b.ir.mul(x_step, i)
            for total, part in zip(totals, parts, strict=True):
                total.value = b.multiply_add(factor, part.load(x, row), total.value)
        for total, part in zip(totals, parts, strict=True):
            part.store(total.value, y)

    wide = 8 * LANES
    most = b.ir.and_(size, INT64(-wide))
    with b.each(ZERO, most, INT64(wide)) as index:
        add(*(Part(b.ir, b.ir.add(index, INT64(more)), None) for more in range(0, wide, LANES)))
    b.each_part(size, add, most)
