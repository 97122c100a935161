"""Vectors across the heads of an edge, where the other loops run along the numbers of a head.

For the score of GAT, vector · LeakyReLU(query + key + edge weight @ features) of a single number per head; and for what one
pass hands on to the other, which lies edge by edge while scores lie head by head: eight by eight numbers are transposed in
registers. Where heads are no multiple of eight, such an array has room for one.
"""

from llvmlite import ir

from graphattn.kernels.edges_cpu_additive import LEAKY_RELU, add_combination
from graphattn.kernels.edges_cpu_builder import Builder, address_of, of_addresses
from graphattn.kernels.edges_cpu_leaky import is_positive, leaky, times_slope
from graphattn.kernels.vectors import INT64, LANES, inlined, inner, load, spread, store


@inlined
def is_one_number(vector, activation, heads, kv_heads):
    """Whether the hidden vector of a head is a single number behind LeakyReLU, made of a query and a key of its own."""
    return activation == LEAKY_RELU and vector.size == heads and kv_heads == heads


@inner
def keys_with_edges(to, table, places, first, x, x_places, edge_weight, heads, edge_dim):
    """to [8 * heads] = the rows of eight edges plus edge_weight [edge_dim, heads] times their features."""
    for lane in range(LANES):
        at, row = lane * heads, places[first + lane]
        for h in range(heads):
            to[at + h] = table[row + h]
        add_combination(
            address_of(x, x_places[first + lane]), 1, edge_weight, heads, edge_dim, address_of(to, at), heads
        )


def of_eight_heads(b: Builder, x, part, step) -> list[ir.Value]:
    """The addresses of the eight heads of a part, `step` numbers from each other."""
    return [b.ir.gep(x, [b.ir.mul(b.ir.add(part.index, INT64(h)), step)]) for h in range(LANES)]


@of_addresses
def leaky_numbers(b: Builder, to, step, vector, q, table, places, heads, scale):
    """to[h * step + lane] = scale * vector[h] * LeakyReLU(q[h] + number h of the row), for the eight rows."""
    rows, scale = b.rows(table, places), spread(b.ir, scale)

    def score(part):
        factor, query = b.multiply(part.load(vector), scale), part.load(q)
        by_edge = [b.multiply(factor, leaky(b, b.add(query, part.load(row)))) for row in rows]
        for lanes, here in zip(b.transposed(by_edge), of_eight_heads(b, to, part, step), strict=True):
            store(b.ir, lanes, here)

    b.each_part(heads, score)


@of_addresses
def leaky_number_gradients(b: Builder, grads, vector, q, table, places, grad_q, grad_vector, heads):
    """From the gradients `grads[h * 8 + lane]` of eight scores: those of the hidden numbers, in their stead.

    Adds to grad_q and grad_vector.
    """
    rows = b.rows(table, places)

    def back(part):
        factor, query = part.load(vector), part.load(q)
        to_query, to_vector = part.load(grad_q), part.load(grad_vector)
        places_of = of_eight_heads(b, grads, part, INT64(LANES))
        by_edge = b.transposed([load(b.ir, here) for here in places_of])
        for lane, row in enumerate(rows):
            hidden = b.add(query, part.load(row))
            grad = b.ir.select(is_positive(b, hidden), by_edge[lane], times_slope(b, by_edge[lane]))
            by_edge[lane] = b.multiply(grad, factor)
            to_query, to_vector = b.add(to_query, by_edge[lane]), b.multiply_add(grad, hidden, to_vector)
        part.store(to_query, grad_q)
        part.store(to_vector, grad_vector)
        for lanes, here in zip(b.transposed(by_edge), places_of, strict=True):
            store(b.ir, lanes, here)

    b.each_part(heads, back)


@of_addresses
def put_by_edge(b: Builder, numbers, to, places, heads):
    """to[places[lane] + h] = numbers[h * 8 + lane] for the eight edges."""
    rows = b.rows(to, places)

    def put(part):
        by_edge = b.transposed([load(b.ir, here) for here in of_eight_heads(b, numbers, part, INT64(LANES))])
        for lanes, row in zip(by_edge, rows, strict=True):
            part.store(lanes, row)

    b.each_part(heads, put)


@of_addresses
def sum_rows(b: Builder, table, places, y, size):
    """y[: size] += the sum of the eight rows."""
    rows = b.rows(table, places)

    def add(part):
        total = b.add_up([part.load(row) for row in rows])
        part.store(b.add(part.load(y), total), y)

    b.each_part(size, add)
