"""Vectors across the heads of an edge, where the other loops run along the numbers of a head.

For the score of GAT, vector · LeakyReLU(query + key + edge weight @ features) of a single number per head; and for what one
pass hands on to the other, which lies edge by edge while scores lie head by head: eight by eight numbers are transposed in
registers.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphattn.kernels.edges_cpu_additive import LEAKY_RELU, add_combination
from graphattn.kernels.edges_cpu_leaky import is_positive, times_slope
from graphattn.kernels.edges_cpu_tables import Builder
from graphattn.kernels.vectors import FLAGS, INT32, INT64, LANES, inlined, inner, load, store


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
        add_combination(x, x_places[first + lane], 1, edge_weight, 0, heads, edge_dim, to, at, heads)


def transposed(builder, vectors: list[ir.Value]) -> list[ir.Value]:
    """Vector i of the result has number i of every vector."""
    for step in (1, 2, 4):
        low = [j if not j & step else LANES + j - step for j in range(LANES)]
        halves = [ir.Constant(ir.VectorType(INT32, LANES), [j + shift for j in low]) for shift in (0, step)]
        pairs = [(vectors[i & ~step], vectors[i | step], halves[bool(i & step)]) for i in range(LANES)]
        vectors = [builder.shuffle_vector(*pair) for pair in pairs]
    return vectors


@intrinsic
def leaky_numbers(typing, vector, q, q_at, table, places, first, to, step, at, heads):
    """to[h * step + at + lane] = vector[h] * LeakyReLU(q[q_at + h] + number h of the row), for the eight rows."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        vector, q, q_at, table, places, first, to, step, at, heads = b.args
        rows, q, to = b.rows(table, places, first, INT64(0)), b.address(q, q_at), b.address(to, at)

        def score(factor, query, number):
            hidden = builder.fadd(query, number, flags=FLAGS)
            return builder.fmul(factor, builder.select(is_positive(b, hidden), hidden, times_slope(b, hidden)), flags=FLAGS)

        with b.each_vector(heads) as h:
            factor, query = load(builder, b.address(vector, h)), load(builder, b.address(q, h))
            scores = transposed(builder, [score(factor, query, load(builder, b.address(row, h))) for row in rows])
            for i, lanes in enumerate(scores):
                store(builder, lanes, b.address(to, builder.mul(builder.add(h, INT64(i)), step)))
        with b.each_left(heads) as h:
            here = b.address(to, builder.mul(h, step))
            for lane, row in enumerate(rows):
                builder.store(score(b.number(vector, h), b.number(q, h), b.number(row, h)), b.address(here, INT64(lane)))
        return context.get_dummy_value()

    long = types.int64
    return types.void(vector, q, long, table, places, long, to, long, long, long), generate


@intrinsic
def leaky_number_gradients(typing, grads, vector, q, q_at, table, places, grad_q, grad_q_at, grad_vector, heads):
    """From the gradients `grads[h * 8 + lane]` of eight scores: those of the hidden numbers, in their stead.

    Adds to grad_q and grad_vector.
    """

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        grads, vector, q, q_at, table, places, grad_q, grad_q_at, grad_vector, heads = b.args
        rows, q, grad_q = b.rows(table, places, INT64(0), INT64(0)), b.address(q, q_at), b.address(grad_q, grad_q_at)

        def edge(factor, query, number, grad, sums):
            """Gradient of a hidden number, and the sums for query and vector with it."""
            hidden = builder.fadd(query, number, flags=FLAGS)
            grad = builder.select(is_positive(b, hidden), grad, times_slope(b, grad))
            to_hidden = builder.fmul(grad, factor, flags=FLAGS)
            return to_hidden, (builder.fadd(sums[0], to_hidden, flags=FLAGS), b.multiply_add(grad, hidden, sums[1]))

        with b.each_vector(heads) as h:
            places_of = [b.address(grads, builder.mul(builder.add(h, INT64(i)), INT64(LANES))) for i in range(LANES)]
            by_edge = transposed(builder, [load(builder, here) for here in places_of])
            ends = b.address(grad_q, h), b.address(grad_vector, h)
            sums = tuple(load(builder, end) for end in ends)
            factor, query = load(builder, b.address(vector, h)), load(builder, b.address(q, h))
            for lane, row in enumerate(rows):
                by_edge[lane], sums = edge(factor, query, load(builder, b.address(row, h)), by_edge[lane], sums)
            for total, end in zip(sums, ends, strict=True):
                store(builder, total, end)
            for lanes, here in zip(transposed(builder, by_edge), places_of, strict=True):
                store(builder, lanes, here)
        with b.each_left(heads) as h:
            ends = b.address(grad_q, h), b.address(grad_vector, h)
            sums = tuple(builder.load(end) for end in ends)
            for lane, row in enumerate(rows):
                here = b.address(grads, builder.mul(h, INT64(LANES)), INT64(lane))
                to_hidden, sums = edge(b.number(vector, h), b.number(q, h), b.number(row, h), builder.load(here), sums)
                builder.store(to_hidden, here)
            for total, end in zip(sums, ends, strict=True):
                builder.store(total, end)
        return context.get_dummy_value()

    long = types.int64
    return types.void(grads, vector, q, long, table, places, grad_q, long, grad_vector, long), generate


@intrinsic
def put_by_edge(typing, numbers, to, places, shift, heads):
    """to[places[lane] + shift + h] = numbers[h * 8 + lane] for the eight edges."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        numbers, to, places, shift, heads = b.args
        rows = b.rows(to, places, INT64(0), shift)
        with b.each_vector(heads) as h:
            by_head = [b.address(numbers, builder.mul(builder.add(h, INT64(i)), INT64(LANES))) for i in range(LANES)]
            by_edge = transposed(builder, [load(builder, here) for here in by_head])
            for lanes, row in zip(by_edge, rows, strict=True):
                store(builder, lanes, b.address(row, h))
        with b.each_left(heads) as h:
            for lane, row in enumerate(rows):
                number = b.number(numbers, builder.mul(h, INT64(LANES)), INT64(lane))
                builder.store(number, b.address(row, h))
        return context.get_dummy_value()

    return types.void(numbers, to, places, types.int64, types.int64), generate


@intrinsic
def sum_rows(typing, table, places, shift, y, y_at, size):
    """y[y_at : y_at + size] += the sum of the eight rows."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        table, places, shift, y, y_at, size = b.args
        rows, y = b.rows(table, places, INT64(0), shift), b.address(y, y_at)

        def total(numbers):
            while len(numbers) > 1:
                pairs = zip(numbers[::2], numbers[1::2], strict=True)
                numbers = [builder.fadd(*pair, flags=FLAGS) for pair in pairs]
            return numbers[0]

        with b.each_vector(size) as index:
            here = b.address(y, index)
            added = total([load(builder, b.address(row, index)) for row in rows])
            store(builder, builder.fadd(load(builder, here), added, flags=FLAGS), here)
        with b.each_left(size) as index:
            here = b.address(y, index)
            added = total([b.number(row, index) for row in rows])
            builder.store(builder.fadd(builder.load(here), added, flags=FLAGS), here)
        return context.get_dummy_value()

    long = types.int64
    return types.void(table, places, long, y, long, long), generate
