"""Sums over eight rows of a table at once, for edges_cpu_rows and edges_cpu_gradients.

A table is a flat array; a row is the numbers from `places[first + lane] + shift` on, for the eight lanes: the vectors of one
head at the nodes of eight edges. Sums run over a head's numbers in vectors, whatever their count.
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
    load,
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
def prefetch_rows(typing, table, nodes, first, width, shift, size):
    """Ask for `size` numbers from table[nodes[first + lane] * width + shift] on, for eight rows, if there are as many."""
    long = types.int64

    def generate(context, builder, signature, args):
        b = Builder(context, builder, signature, args)
        table, nodes, first, width, shift, size = b.args
        count = context.make_array(signature.args[1])(context, builder, args[1]).nitems
        step = INT64(LINE * 8 // signature.args[0].dtype.bitwidth)
        table, nodes = b.address(table, shift), b.address(nodes, first)
        with builder.if_then(builder.icmp_signed("<=", builder.add(first, INT64(LANES)), count)):
            for lane in range(LANES):
                node = context.cast(builder, b.number(nodes, INT64(lane)), signature.args[1].dtype, long)
                row = b.address(table, builder.mul(node, width))
                with cgutils.for_range_slice(builder, INT64(0), size, step, INT64) as (index, _):
                    ask_for(builder, b.address(row, index))
        return context.get_dummy_value()

    return types.void(table, nodes, *[long] * 4), generate
