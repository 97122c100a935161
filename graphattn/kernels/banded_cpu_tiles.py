"""Products of a tile: nodes side by side in the lanes of vectors, against rows, nodes one after the other.

What a tile knows of its nodes lies channel by channel, [channels, TILE]; what it finds, row by row, [rows, TILE]. So every
sum over channels or rows is one over vectors, in each lane on its own, and any number of channels will do. There is room for
up to WIDE channels more than there are (`room_for`) and for up to ROWS rows more; what stands there means nothing.
"""

from functools import partial

from llvmlite import ir

from graphattn.kernels.edges_cpu_builder import Builder, of_addresses, zeros
from graphattn.kernels.vectors import INT64, WIDE, ZERO, inlined, load, spread, store

# Sums of VECTORS * ROWS vectors stay in registers: more than an addition takes cycles, and with what they are made of no
# more than the 32 registers of AVX-512 or the 16 of AVX2. ROWS divides WIDE.
VECTORS, ROWS = (2, 8) if WIDE == 16 else (3, 4)
TILE = VECTORS * WIDE

wide = partial(of_addresses, lanes=WIDE)


@inlined
def room_for(channels):
    """Numbers of a tile with so many channels."""
    return (channels + WIDE - 1) // WIDE * WIDE * TILE


def vectors_at(b: Builder, x, *index) -> list[ir.Value]:
    """The numbers of all lanes of a tile."""
    return [load(b.ir, here, WIDE) for here in places_of(b, x, *index)]


def places_of(b: Builder, x, *index) -> list[ir.Value]:
    for step in index:
        x = b.ir.gep(x, [step])
    return [b.ir.gep(x, [INT64(n * WIDE)]) for n in range(VECTORS)]


def first_and_next(b: Builder, first, step, count: int) -> list[ir.Value]:
    """(first + i) * step"""
    return [b.ir.mul(b.ir.add(first, INT64(i)), step) for i in range(count)]


def sums_of_products(b: Builder, x, stop, factors, x_step) -> list[list[ir.Value]]:
    """For each of `factors`, functions of i that give a number, the sum of factor(i) * x[i * x_step] for i below stop."""
    totals = [[b.variable(zeros(x, WIDE)) for _ in range(VECTORS)] for _ in factors]
    with b.each(ZERO, stop, INT64(1)) as i:
        vectors = vectors_at(b, x, b.ir.mul(i, x_step))
        for row, factor in zip(totals, factors, strict=True):
            number = spread(b.ir, factor(i), WIDE)
            for total, vector in zip(row, vectors, strict=True):
                total.value = b.multiply_add(number, vector, total.value)
    return [[total.value for total in row] for row in totals]


@wide
def dot_rows(b: Builder, to, rows, size, count, lanes, scale, added, is_added):
    """to[r, lane] = scale * row r · lane, + added[lane - r] where `is_added`. Rows of `size` numbers lie side by side."""
    scale = spread(b.ir, scale, WIDE)
    with b.each(ZERO, count, INT64(ROWS)) as first:
        starts = [b.ir.gep(rows, [at]) for at in first_and_next(b, first, size, ROWS)]
        factors = [partial(b.number, start) for start in starts]
        products = sums_of_products(b, lanes, size, factors, INT64(TILE))
        places = [places_of(b, to, at) for at in first_and_next(b, first, INT64(TILE), ROWS)]
        for row, of_row in zip(products, places, strict=True):
            for product, place in zip(row, of_row, strict=True):
                store(b.ir, b.multiply(product, scale), place)
        with b.ir.if_then(is_added):
            for r, of_row in zip(first_and_next(b, first, INT64(-1), ROWS), places, strict=True):
                for place, bias in zip(of_row, vectors_at(b, added, r), strict=True):
                    store(b.ir, b.add(load(b.ir, place, WIDE), bias), place)


@wide
def add_rows(b: Builder, lanes, rows, size, count, weights, shrink):
    """lanes *= shrink, unless that is None; lanes += the sum of row r * weights[r, lane]."""
    with b.each(ZERO, size, INT64(ROWS)) as channel:
        starts = [b.ir.gep(rows, [b.ir.add(channel, INT64(i))]) for i in range(ROWS)]
        factors = [lambda r, start=start: b.number(start, b.ir.mul(r, size)) for start in starts]
        sums = sums_of_products(b, weights, count, factors, INT64(TILE))
        for row, at in zip(sums, first_and_next(b, channel, INT64(TILE), ROWS), strict=True):
            for n, (total, place) in enumerate(zip(row, places_of(b, lanes, at), strict=True)):
                before = load(b.ir, place, WIDE)
                if shrink is None:
                    store(b.ir, b.add(before, total), place)
                else:
                    store(b.ir, b.multiply_add(before, vectors_at(b, shrink)[n], total), place)


@wide
def copy_rows(b: Builder, to, table, step, size, count, sign):
    """Rows of `size` numbers, every `step` numbers in the table, side by side.

    `sign` [WIDE] becomes NaN where one is not finite; None: nobody asks.
    """
    found = None if sign is None else b.variable(load(b.ir, sign, WIDE))
    with b.each(ZERO, count, INT64(1)) as r:
        here, there = b.ir.mul(r, step), b.ir.mul(r, size)

        def copy(part):
            vector = part.load(table, here)
            if found is not None:
                found.value = b.multiply_add(vector, zeros(to, WIDE), found.value)
            part.store(vector, to, there)

        b.each_part(size, copy)
    if found is not None:
        store(b.ir, found.value, sign)


def rows_of_lanes(b: Builder, table, step, first, count) -> list[ir.Value]:
    """Rows first ... first + WIDE - 1 of a table; for those from `count` on the last one."""
    rows, last = [], b.ir.sub(count, INT64(1))
    for lane in range(WIDE):
        row = b.ir.add(first, INT64(lane))
        row = b.ir.select(b.ir.icmp_signed("<", row, last), row, last)
        rows.append(b.ir.gep(table, [b.ir.mul(row, step)]))
    return rows


@wide
def to_lanes(b: Builder, lanes, table, step, size, count):
    """A tile of `count` rows of a table, at least one; the lanes that are left are like the last of them."""
    with b.each(ZERO, INT64(TILE), INT64(WIDE)) as first:
        rows = rows_of_lanes(b, table, step, first, count)

        def put(part):
            channels = first_and_next(b, part.index, INT64(TILE), WIDE)
            for vector, at in zip(b.transposed([part.load(row) for row in rows]), channels, strict=True):
                store(b.ir, vector, b.ir.gep(b.ir.gep(lanes, [at]), [first]))

        b.each_part(size, put)


@wide
def from_lanes(b: Builder, table, step, size, count, lanes, factor):
    """The first `count` lanes times factor[lane] back to their rows."""
    with b.each(ZERO, count, INT64(WIDE)) as first:
        rows = rows_of_lanes(b, table, step, first, count)
        factors = load(b.ir, b.ir.gep(factor, [first]), WIDE)

        def put(part):
            channels = first_and_next(b, part.index, INT64(TILE), WIDE)
            vectors = [load(b.ir, b.ir.gep(b.ir.gep(lanes, [at]), [first]), WIDE) for at in channels]
            vectors = b.transposed([b.multiply(vector, factors) for vector in vectors])
            for vector, row in list(zip(vectors, rows, strict=True))[::-1]:  # the last row is its own lane's in the end
                part.store(vector, row)

        b.each_part(size, put)


@wide
def add_by_distance(b: Builder, to, numbers, count):
    """to[lane - r] += numbers[r, lane]"""
    with b.each(ZERO, count, INT64(1)) as r:
        vectors = vectors_at(b, numbers, b.ir.mul(r, INT64(TILE)))
        for vector, place in zip(vectors, places_of(b, to, b.ir.neg(r)), strict=True):
            store(b.ir, b.add(load(b.ir, place, WIDE), vector), place)
