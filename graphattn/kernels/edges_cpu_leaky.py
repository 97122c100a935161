"""The additive score with LeakyReLU, vector · LeakyReLU(query + key), without its hidden vectors in memory (GATv2, GAT).

The pass over queries leaves the sign of every hidden number behind, one bit each: it is all that the pass over keys needs.
Bit c % 8 of bits[bit_places[lane] + c // 8] tells whether number c of a head is above 0; each head begins with a new byte.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphattn.kernels.edges_cpu_builder import Builder, of_addresses, zeros
from graphattn.kernels.vectors import INT64, LANES, spread, store

SLOPE = 0.2  # below 0, as in scores.KERNEL_SLOPE; also the slope at 0, as in torch
BYTE, BITS = ir.IntType(8), ir.VectorType(ir.IntType(1), LANES)


def constant(lanes: ir.VectorType, number: float) -> ir.Constant:
    return ir.Constant(lanes, [number] * LANES)


def is_positive(b: Builder, x) -> ir.Value:
    return b.ir.fcmp_ordered(">", x, constant(x.type, 0.0))


def times_slope(b: Builder, x) -> ir.Value:
    return b.multiply(x, constant(x.type, SLOPE))


def leaky(b: Builder, x) -> ir.Value:
    return b.ir.select(is_positive(b, x), x, times_slope(b, x))


@intrinsic
def signs_of(typing, lanes):
    """A byte whose bit c tells whether number c is above 0."""

    def generate(context, builder, signature, args):
        return builder.bitcast(is_positive(Builder(builder), args[0]), BYTE)

    return types.uint8(lanes), generate


def byte_at(b: Builder, bits, number, size, part) -> ir.Value:
    """The address of a part's byte, of head `number`."""
    bytes_of_head = b.ir.lshr(b.ir.add(size, INT64(LANES - 1)), INT64(3))
    here = b.ir.gep(bits, [b.ir.mul(number, bytes_of_head)])
    return b.ir.gep(here, [b.ir.lshr(part.index, INT64(3))])


@of_addresses
def leaky_heads(b: Builder, to, step, vector, q, table, places, coming, heads, group, size, scale):
    """to[h * step + lane] = scale * vector[h] · LeakyReLU(q[head h] + row[group of h])."""
    rows, scale = b.rows(table, places), spread(b.ir, scale)
    with b.each_head(heads, group, size) as head:
        b.ask_for_group(table, coming, head, size)

        def term(part):
            factor, query = part.load(vector, head.at), part.load(q, head.at)
            return lambda row: (factor, leaky(b, b.add(query, row)))

        products = b.sums_of_rows(rows, head.group_at, size, term)
        store(b.ir, b.multiply(products, scale), b.ir.gep(to, [b.ir.mul(head.number, step)]))


@of_addresses
def add_leaky_heads(
    b: Builder, grads, vector, q, table, places, grad_q, grad_vector, bits, bit_places, heads, group, size
):
    """From the gradients `grads[h * 8 + lane]` of eight scores: adds to grad_q and grad_vector, and writes down the signs."""
    rows, bit_rows = b.rows(table, places), b.rows(bits, bit_places)
    with b.each_head(heads, group, size) as head:
        steep = [spread(b.ir, x) for x in b.eight(grads, b.ir.mul(head.number, INT64(LANES)))]
        flat = [times_slope(b, x) for x in steep]

        def add(part):
            query, total, by_hidden = part.load(q, head.at), zeros(q), part.load(grad_vector, head.at)
            for lane, row in enumerate(rows):
                hidden = b.add(query, part.load(row, head.group_at))
                positive = is_positive(b, hidden)
                grad = b.ir.select(positive, steep[lane], flat[lane])
                total, by_hidden = b.add(total, grad), b.multiply_add(grad, hidden, by_hidden)
                b.ir.store(b.ir.bitcast(positive, BYTE), byte_at(b, bit_rows[lane], head.number, size, part))
            to_query = b.multiply_add(part.load(vector, head.at), total, part.load(grad_q, head.at))
            part.store(to_query, grad_q, head.at)
            part.store(by_hidden, grad_vector, head.at)

        b.each_part(size, add)


@of_addresses
def add_heads_by_signs(b: Builder, grads, grad_places, bits, bit_places, vector, y, heads, group, size):
    """y[group of h] += vector[h] * the sum of grads[grad_places[lane] + h] times 1 where the sign bit is set, SLOPE elsewhere."""
    grad_rows, bit_rows = b.rows(grads, grad_places), b.rows(bits, bit_places)
    with b.each_head(heads, group, size) as head:
        numbers = [spread(b.ir, b.number(row, head.number)) for row in grad_rows]
        everywhere = times_slope(b, b.add_up(numbers))

        def add(part):
            steep = zeros(y)
            for number, row in zip(numbers, bit_rows, strict=True):
                byte = b.ir.load(byte_at(b, row, head.number, size, part))
                steep = b.add(steep, b.ir.select(b.ir.bitcast(byte, BITS), number, zeros(y)))
            sums = b.multiply_add(steep, constant(everywhere.type, 1 - SLOPE), everywhere)
            part.store(b.multiply_add(part.load(vector, head.at), sums, part.load(y, head.group_at)), y, head.group_at)

        b.each_part(size, add)
