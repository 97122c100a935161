"""Sums over eight rows of a table at once, for edges_cpu_rows and edges_cpu_gradients.

A table is a flat array; a row is the numbers from `places[first + lane] + shift` on, for the eight lanes: the vectors of one
head at the nodes of eight edges. Sums run over a head's numbers in vectors, whatever their count.

Loops over heads are functions of their own, which LLVM does not inline: inside the long loops over edges it kept too few
numbers in registers (half the speed).
"""

from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from graphattn.kernels.vectors import (
    FLAGS,
    INT32,
    INT64,
    LANES,
    Lanes,
    ask_for,
    data_of,
    element_type,
    inner,
    lanes_at,
    load,
    put_lanes,
    spread,
    store,
)

LINE = 64  # bytes of a cache line


class Builder:
    """The arguments of an intrinsic, arrays as addresses, and the loops that they share."""

    def __init__(self, context, builder, signature, args):
        self.context, self.builder = context, builder
        self.args = [
            data_of(context, builder, typed, x) if isinstance(typed, types.Array) else x
            for typed, x in zip(signature.args, args, strict=True)
        ]

    def address(self, array, *index) -> ir.Value:
        for step in index:
            array = self.builder.gep(array, [step])
        return array

    def number(self, array, *index) -> ir.Value:
        return self.builder.load(self.address(array, *index))

    def rows(self, table, places, first, shift) -> list[ir.Value]:
        """The addresses of the eight rows."""
        table, places = self.address(table, shift), self.address(places, first)
        return [self.address(table, self.number(places, INT64(lane))) for lane in range(LANES)]

    def variable(self, start) -> ir.Value:
        place = cgutils.alloca_once(self.builder, start.type)
        self.builder.store(start, place)
        return place

    def add_to(self, variable, factor, x) -> None:
        """variable += factor * x"""
        total = self.multiply_add(factor, x, self.builder.load(variable))
        self.builder.store(total, variable)

    def multiply_add(self, factor, x, total) -> ir.Value:
        return self.builder.fadd(total, self.builder.fmul(factor, x, flags=FLAGS), flags=FLAGS)

    @contextmanager
    def each_vector(self, size):
        """A loop over 0, 8, 16, ... below size - size % 8."""
        whole = self.builder.and_(size, INT64(-LANES))
        with cgutils.for_range_slice(self.builder, INT64(0), whole, INT64(LANES), INT64) as (index, _):
            yield index

    @contextmanager
    def each_left(self, size):
        """A loop over the last size % 8 indices."""
        whole = self.builder.and_(size, INT64(-LANES))
        with cgutils.for_range_slice(self.builder, whole, size, INT64(1), INT64) as (index, _):
            yield index

    def across(self, pointers, index) -> ir.Value:
        """Number `index` of each of the eight rows."""
        vector = ir.Constant(ir.VectorType(pointers[0].type.pointee, LANES), ir.Undefined)
        for lane, pointer in enumerate(pointers):
            vector = self.builder.insert_element(vector, self.number(pointer, index), INT32(lane))
        return vector

    def sums(self, vectors) -> ir.Value:
        """The sums of eight vectors, one in each lane: neighbours are added pair by pair."""
        step = 1
        while len(vectors) > 1:
            low = [i + j for i in range(0, LANES, 2 * step) for k in (0, LANES) for j in range(k, k + step)]
            halves = [ir.Constant(ir.VectorType(INT32, LANES), [i + s for i in low]) for s in (0, step)]
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [
                self.builder.fadd(*(self.builder.shuffle_vector(x, y, half) for half in halves), flags=FLAGS)
                for x, y in pairs
            ]
            step *= 2
        return vectors[0]

    def sums_of_rows(self, kind, rows, size, term) -> ir.Value:
        """The sum over index < size of term(index, load, number of each row) for each of the eight rows.

        `term(is_vector, index, row)` gives (factor, x): for a vector of one row, or for one number of all rows.
        """
        zero = ir.Constant(ir.VectorType(kind, LANES), [0.0] * LANES)
        totals = [self.variable(zero) for _ in rows]
        with self.each_vector(size) as index:
            parts = term(lambda array: load(self.builder, self.address(array, index)))
            for total, row in zip(totals, rows, strict=True):
                self.add_to(total, *parts(load(self.builder, self.address(row, index))))
        result = self.variable(self.sums([self.builder.load(total) for total in totals]))
        with self.each_left(size) as index:
            parts = term(lambda array: spread(self.builder, self.number(array, index)))
            self.add_to(result, *parts(self.across(rows, index)))
        return self.builder.load(result)


@intrinsic
def dot_rows(typing, a, a_at, table, places, first, shift, size):
    """a[a_at : a_at + size] · row, for the eight rows."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        a, a_at, table, places, first, shift, size = b.args
        a = b.address(a, a_at)

        def term(take):
            factor = take(a)
            return lambda row: (factor, row)

        return b.sums_of_rows(element_type(signature.args[0]), b.rows(table, places, first, shift), size, term)

    long = types.int64
    return Lanes(a.dtype)(a, long, table, places, long, long, long), generate


@intrinsic
def add_rows(typing, weights, weights_at, table, places, first, shift, y, y_at, size):
    """y[y_at : y_at + size] += the sum of weights[weights_at + lane] * row over the eight rows."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        weights, weights_at, table, places, first, shift, y, y_at, size = b.args
        factors = [b.number(weights, weights_at, INT64(lane)) for lane in range(LANES)]
        add_up(b, factors, b.rows(table, places, first, shift), b.address(y, y_at), size)
        return context.get_dummy_value()

    long = types.int64
    return types.void(weights, long, table, places, long, long, y, long, long), generate


@intrinsic
def add_rows_by_places(typing, weights, weight_places, weight_shift, table, places, first, shift, y, y_at, size):
    """y[y_at : y_at + size] += the sum of weights[weight_places[first + lane] + weight_shift] * row over the eight rows."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        weights, weight_places, weight_shift, table, places, first, shift, y, y_at, size = b.args
        factors = [b.number(x) for x in b.rows(weights, weight_places, first, weight_shift)]
        add_up(b, factors, b.rows(table, places, first, shift), b.address(y, y_at), size)
        return context.get_dummy_value()

    long = types.int64
    return types.void(weights, weight_places, long, table, places, long, long, y, long, long), generate


def add_up(b: Builder, factors, rows, y, size) -> None:
    spread_factors = [spread(b.builder, factor) for factor in factors]
    with b.each_vector(size) as index:
        here = b.address(y, index)
        totals = [load(b.builder, here), ir.Constant(spread_factors[0].type, [0.0] * LANES)]  # two shorter chains
        for lane, (factor, row) in enumerate(zip(spread_factors, rows, strict=True)):
            totals[lane % 2] = b.multiply_add(factor, load(b.builder, b.address(row, index)), totals[lane % 2])
        store(b.builder, b.builder.fadd(*totals, flags=FLAGS), here)
    with b.each_left(size) as index:
        total = b.number(y, index)
        for factor, row in zip(factors, rows, strict=True):
            total = b.multiply_add(factor, b.number(row, index), total)
        b.builder.store(total, b.address(y, index))


@intrinsic
def set_rows(typing, factors, factors_at, x, x_at, is_first, table, places, shift, size):
    """row = factors[factors_at + lane] * x[x_at : x_at + size] for the eight rows, or += if it is not the first such call.

    Of rows that are the same one, the first lane's is kept.
    """

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        factors, factors_at, x, x_at, is_first, table, places, shift, size = b.args
        numbers = [b.number(factors, factors_at, INT64(lane)) for lane in range(LANES)]
        spread_numbers = [spread(builder, number) for number in numbers]
        rows, x = b.rows(table, places, INT64(0), shift), b.address(x, x_at)

        def fill(take, put, numbers, index):
            part = take(b.address(x, index))
            for number, row in list(zip(numbers, rows, strict=True))[::-1]:
                product, here = builder.fmul(part, number, flags=FLAGS), b.address(row, index)
                with builder.if_else(is_first) as (first, later):
                    with first:
                        put(product, here)
                    with later:
                        put(builder.fadd(take(here), product, flags=FLAGS), here)

        with b.each_vector(size) as index:
            fill(lambda here: load(builder, here), lambda y, here: store(builder, y, here), spread_numbers, index)
        with b.each_left(size) as index:
            fill(builder.load, builder.store, numbers, index)
        return context.get_dummy_value()

    long = types.int64
    return types.void(factors, long, x, long, types.boolean, table, places, long, long), generate


@intrinsic
def prefetch_rows(typing, table, places, shift, size):
    """Ask for the eight rows, `size` numbers each."""

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        table, places, shift, size = b.args
        step = INT64(LINE * 8 // signature.args[0].dtype.bitwidth)
        rows = b.rows(table, places, INT64(0), shift)
        with cgutils.for_range_slice(builder, INT64(0), size, step, INT64) as (index, _):
            for row in rows:
                ask_for(builder, b.address(row, index))
        return context.get_dummy_value()

    return types.void(table, places, types.int64, types.int64), generate


@inner
def dot_heads(to, step, at, a, a_at, table, places, first, coming, kv_heads, group, size, is_added):
    """to[h * step + at + lane] = a[head h] · row[group of h], or += where `is_added`; `group` heads share a row's part.

    `coming` are the places of the eight rows that will be wanted next, asked for little by little; empty for none.
    """
    for g in range(kv_heads):
        if coming.size:
            prefetch_rows(table, coming, g * size, size)
        for _ in range(group):
            products = dot_rows(a, a_at, table, places, first, g * size, size)
            put_lanes(lanes_at(to, at) + products if is_added else products, to, at)
            at += step
            a_at += size


@inner
def add_heads(weights, step, at, table, places, first, coming, y, y_at, kv_heads, group, size):
    """y[head h] += the sum of weights[h * step + at + lane] * row[group of h] over the eight rows."""
    for g in range(kv_heads):
        if coming.size:
            prefetch_rows(table, coming, g * size, size)
        for _ in range(group):
            add_rows(weights, at, table, places, first, g * size, y, y_at, size)
            at += step
            y_at += size


@inner
def add_heads_by_places(weights, weight_places, weight_shift, table, places, coming, y, y_at, kv_heads, group, size):
    """y[group of h] += the sum of weights[weight_places[lane] + weight_shift + h] * row[head h] over the eight rows."""
    shift = 0
    for _ in range(kv_heads):
        for _ in range(group):
            prefetch_rows(table, coming, shift, size)
            add_rows_by_places(weights, weight_places, weight_shift, table, places, 0, shift, y, y_at, size)
            weight_shift += 1
            shift += size
        y_at += size


@inner
def set_heads(factors, x, x_at, is_first, table, places, kv_heads, group, size):
    """row[group of h] = the sum of factors[h * 8 + lane] * x[head h] over the heads of a group, or += if not `is_first`."""
    at = 0
    for g in range(kv_heads):
        for h in range(group):
            set_rows(factors, at, x, x_at, is_first and h == 0, table, places, g * size, size)
            at += LANES
            x_at += size
