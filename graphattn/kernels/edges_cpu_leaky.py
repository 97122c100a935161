"""The additive score with LeakyReLU, vector · LeakyReLU(query + key), without its hidden vectors in memory (GATv2, GAT).

The pass over queries leaves the sign of every hidden number behind, one bit each: it is all that the pass over keys needs.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphattn.kernels.edges_cpu_tables import Builder, prefetch_rows
from graphattn.kernels.vectors import FLAGS, INT64, LANES, Lanes, element_type, inner, load, put_lanes, spread, store

SLOPE = 0.2  # below 0, as in scores.KERNEL_SLOPE; also the slope at 0, as in torch
BYTE, BIT = ir.IntType(8), ir.IntType(1)


def constant(kind: ir.Type, number: float) -> ir.Constant:
    return ir.Constant(kind, [number] * LANES) if isinstance(kind, ir.VectorType) else ir.Constant(kind, number)


def is_positive(b: Builder, x) -> ir.Value:
    return b.builder.fcmp_ordered(">", x, constant(x.type, 0.0))


def times_slope(b: Builder, x) -> ir.Value:
    return b.builder.fmul(x, constant(x.type, SLOPE), flags=FLAGS)


@intrinsic
def signs_of(typing, lanes):
    """A byte whose bit c tells whether number c is above 0."""

    def generate(context, builder, signature, args):
        positive = builder.fcmp_ordered(">", args[0], constant(args[0].type, 0.0))
        return builder.bitcast(positive, BYTE)

    return types.uint8(lanes), generate


@intrinsic
def leaky_rows(typing, vector, vector_at, q, q_at, table, places, first, shift, size):
    """vector · LeakyReLU(q + row), `size` numbers each, for the eight rows."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        vector, vector_at, q, q_at, table, places, first, shift, size = b.args
        vector, q = b.address(vector, vector_at), b.address(q, q_at)

        def term(take):
            factor, query = take(vector), take(q)

            def parts(row):
                hidden = builder.fadd(query, row, flags=FLAGS)
                return factor, builder.select(is_positive(b, hidden), hidden, times_slope(b, hidden))

            return parts

        return b.sums_of_rows(element_type(signature.args[0]), b.rows(table, places, first, shift), size, term)

    long = types.int64
    return Lanes(q.dtype)(vector, long, q, long, table, places, long, long, long), generate


@intrinsic
def add_leaky_gradients(
    typing, grads, at, vector, vector_at, q, q_at, table, places, first, shift, size,
    grad_q, grad_q_at, grad_vector, grad_vector_at, bits, bit_places, bits_shift,
):  # fmt: skip
    """From the gradients `grads[at + lane]` of eight scores: adds to grad_q and grad_vector, and writes down the signs.

    Bit c % 8 of bits[bit_places[lane] + bits_shift + c // 8] tells whether hidden number c is above 0.
    """

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        grads, at, vector, vector_at, q, q_at, table, places, first, shift, size = b.args[:11]
        grad_q, grad_q_at, grad_vector, grad_vector_at, bits, bit_places, bits_shift = b.args[11:]
        rows = b.rows(table, places, first, shift)
        bit_rows = b.rows(bits, bit_places, INT64(0), bits_shift)
        vector, q = b.address(vector, vector_at), b.address(q, q_at)
        grad_q, grad_vector = b.address(grad_q, grad_q_at), b.address(grad_vector, grad_vector_at)
        steep = [b.number(grads, at, INT64(lane)) for lane in range(LANES)]
        flat = [times_slope(b, x) for x in steep]
        steep_lanes, flat_lanes = ([spread(builder, x) for x in numbers] for numbers in (steep, flat))
        signs = [b.variable(BYTE(0)) for _ in rows]

        def edge(lane, query, row, steep, flat, sums):
            hidden = builder.fadd(query, row, flags=FLAGS)
            positive = is_positive(b, hidden)
            grad = builder.select(positive, steep[lane], flat[lane])
            return positive, (builder.fadd(sums[0], grad, flags=FLAGS), b.multiply_add(grad, hidden, sums[1]))

        with b.each_vector(size) as index:
            zero = constant(steep_lanes[0].type, 0.0)
            sums, query = (zero, zero), load(builder, b.address(q, index))
            for lane, row in enumerate(rows):
                row = load(builder, b.address(row, index))
                positive, sums = edge(lane, query, row, steep_lanes, flat_lanes, sums)
                builder.store(builder.bitcast(positive, BYTE), b.address(bit_rows[lane], builder.lshr(index, INT64(3))))
            here = b.address(grad_q, index)
            product = b.multiply_add(load(builder, b.address(vector, index)), sums[0], load(builder, here))
            store(builder, product, here)
            here = b.address(grad_vector, index)
            store(builder, builder.fadd(load(builder, here), sums[1], flags=FLAGS), here)
        with b.each_left(size) as index:
            zero = constant(steep[0].type, 0.0)
            sums, query = (zero, zero), b.number(q, index)
            for lane, row in enumerate(rows):
                positive, sums = edge(lane, query, b.number(row, index), steep, flat, sums)
                bit = builder.shl(builder.zext(positive, BYTE), builder.trunc(builder.and_(index, INT64(7)), BYTE))
                builder.store(builder.or_(builder.load(signs[lane]), bit), signs[lane])
            here = b.address(grad_q, index)
            builder.store(b.multiply_add(b.number(vector, index), sums[0], builder.load(here)), here)
            here = b.address(grad_vector, index)
            builder.store(builder.fadd(builder.load(here), sums[1], flags=FLAGS), here)
        with builder.if_then(builder.icmp_signed("!=", builder.and_(size, INT64(7)), INT64(0))):
            for sign, row in zip(signs, bit_rows, strict=True):
                builder.store(builder.load(sign), b.address(row, builder.lshr(size, INT64(3))))
        return context.get_dummy_value()

    long = types.int64
    nodes = (vector, long, q, long, table, places, long, long, long)
    return types.void(grads, long, *nodes, grad_q, long, grad_vector, long, bits, bit_places, long), generate


@intrinsic
def add_by_signs(typing, grads, grad_places, grad_shift, bits, bit_places, bits_shift, first, vector, vector_at, y, y_at, size):
    """y += vector * the sum over eight edges of grads[...] times 1 where the sign bit is set, SLOPE elsewhere.

    Row `lane` of grads and of bits starts at its number `first + lane` of `grad_places` and `bit_places`, plus the shift.
    """

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        grads, grad_places, grad_shift, bits, bit_places, bits_shift, first, vector, vector_at, y, y_at, size = b.args
        numbers = [b.number(x) for x in b.rows(grads, grad_places, first, grad_shift)]
        bit_rows = b.rows(bits, bit_places, first, bits_shift)
        vector, y = b.address(vector, vector_at), b.address(y, y_at)
        total = numbers[0]
        for number in numbers[1:]:
            total = builder.fadd(total, number, flags=FLAGS)
        everywhere, more = times_slope(b, total), constant(total.type, 1 - SLOPE)
        zero = constant(total.type, 0.0)
        lanes = [spread(builder, number) for number in numbers]
        with b.each_vector(size) as index:
            steep = [constant(lanes[0].type, 0.0)] * 2
            for lane, (number, row) in enumerate(zip(lanes, bit_rows, strict=True)):
                byte = b.number(row, builder.lshr(index, INT64(3)))
                chosen = builder.select(builder.bitcast(byte, ir.VectorType(BIT, LANES)), number, constant(number.type, 0.0))
                steep[lane % 2] = builder.fadd(steep[lane % 2], chosen, flags=FLAGS)
            steep = builder.fadd(*steep, flags=FLAGS)
            sums = b.multiply_add(steep, spread(builder, more), spread(builder, everywhere))
            here = b.address(y, index)
            store(builder, b.multiply_add(load(builder, b.address(vector, index)), sums, load(builder, here)), here)
        with b.each_left(size) as index:
            steep = zero
            for number, row in zip(numbers, bit_rows, strict=True):
                byte = b.number(row, builder.lshr(index, INT64(3)))
                shifted = builder.lshr(byte, builder.trunc(builder.and_(index, INT64(7)), BYTE))
                steep = builder.fadd(steep, builder.select(builder.trunc(shifted, BIT), number, zero), flags=FLAGS)
            sums = b.multiply_add(steep, more, everywhere)
            here = b.address(y, index)
            builder.store(b.multiply_add(b.number(vector, index), sums, builder.load(here)), here)
        return context.get_dummy_value()

    long = types.int64
    signature = types.void(
        grads, grad_places, long, bits, bit_places, long, long, vector, long, y, long, long
    )
    return signature, generate


@inner
def leaky_heads(to, step, at, vector, q, q_at, table, places, first, coming, kv_heads, group, size):
    """to[h * step + at + lane] = vector[h] · LeakyReLU(q[head h] + row[group of h]); `coming` as in dot_heads."""
    vector_at = 0
    for g in range(kv_heads):
        prefetch_rows(table, coming, g * size, size)
        for _ in range(group):
            products = leaky_rows(vector, vector_at, q, q_at + vector_at, table, places, first, g * size, size)
            put_lanes(products, to, at)
            at += step
            vector_at += size


@inner
def add_leaky_heads(
    grads, vector, q, q_at, table, places, kv_heads, group, size, grad_q, grad_q_at, grad_vector, bits, bit_places
):  # fmt: skip
    """add_leaky_gradients for every head; grads [heads * 8]."""
    at, byte, vector_at, bytes_of_head = 0, 0, 0, (size + 7) // 8
    for g in range(kv_heads):
        for _ in range(group):
            add_leaky_gradients(
                grads, at, vector, vector_at, q, q_at + vector_at, table, places, 0, g * size, size,
                grad_q, grad_q_at + vector_at, grad_vector, vector_at, bits, bit_places, byte,
            )  # fmt: skip
            at += LANES
            byte += bytes_of_head
            vector_at += size


@inner
def add_heads_by_signs(grads, grad_places, grad_shift, bits, bit_places, vector, y, y_at, kv_heads, group, size):
    """add_by_signs for every head; the heads of a group share a part of y."""
    byte, vector_at, bytes_of_head = 0, 0, (size + 7) // 8
    for _ in range(kv_heads):
        for _ in range(group):
            add_by_signs(
                grads, grad_places, grad_shift, bits, bit_places, byte, 0, vector, vector_at, y, y_at, size
            )
            grad_shift += 1
            byte += bytes_of_head
            vector_at += size
        y_at += size
