"""Functions whose bodies are written in LLVM's language: loops over the numbers of vectors, some lanes at a time.

An array is seven numbers to a function of Numba's, and an index into it a test of its sign: for a head of 16 numbers that took
as long as the arithmetic. Here an array is an address, and the loop over heads lies inside the function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from graphattn.kernels.vectors import (
    FLAGS,
    INT32,
    INT64,
    LANES,
    ZERO,
    ask_for,
    bytes_of,
    call_llvm,
    data_of,
    first_of,
    inlined,
    inner,
    load,
    load_where,
    store,
    store_where,
    suffix,
)

LINE = 64  # bytes of a cache line


@intrinsic
def address_of(typing, array, index):
    """The address of array[index]."""

    def generate(context, builder, signature, args):
        return builder.gep(data_of(context, builder, signature.args[0], args[0]), [args[1]])

    return types.CPointer(array.dtype)(array, types.int64), generate


@intrinsic
def addresses_of(typing, arguments):
    """The arguments, an array as the address of its first number."""
    kinds = [types.CPointer(kind.dtype) if isinstance(kind, types.Array) else kind for kind in arguments]

    def generate(context, builder, signature, args):
        values = zip(arguments, cgutils.unpack_tuple(builder, args[0]), strict=True)
        values = [data_of(context, builder, kind, x) if isinstance(kind, types.Array) else x for kind, x in values]
        return context.make_tuple(builder, signature.return_type, values)

    return types.Tuple(kinds)(arguments), generate


def of_addresses(write: Callable, lanes: int = LANES) -> Callable:
    """A function for compiled code whose body is what `write(b, *arguments)` writes with a Builder of so many lanes.

    Its arguments are numbers, booleans, addresses, arrays in the place of addresses, and None, which `write` is handed as it is.
    It is a function of its own in machine code: inside the long loops over edges LLVM kept too few numbers in registers (half
    the speed).
    """

    @intrinsic
    def body(typing, arguments):
        def generate(context, builder, signature, args):
            values = zip(arguments, cgutils.unpack_tuple(builder, args[0]), strict=True)
            write(Builder(builder, lanes), *[None if kind == types.none else x for kind, x in values])
            return context.get_dummy_value()

        return types.void(arguments), generate

    @inner
    def function(*arguments):
        body(arguments)

    @inlined
    def with_arrays(*arguments):
        function(*addresses_of(arguments))

    return with_arrays


def zeros(x, lanes: int = LANES) -> ir.Constant:
    """Lanes of the kind of the numbers at an address."""
    return ir.Constant(ir.VectorType(x.type.pointee, lanes), [0.0] * lanes)


class Variable:
    """A value that changes in a loop; LLVM keeps it in a register."""

    def __init__(self, builder: ir.IRBuilder, start: ir.Value):
        self.builder, self.place = builder, cgutils.alloca_once(builder, start.type)
        self.value = start

    @property
    def value(self) -> ir.Value:
        return self.builder.load(self.place)

    @value.setter
    def value(self, value: ir.Value) -> None:
        self.builder.store(value, self.place)


class Part(NamedTuple):
    """As many numbers of vectors as there are lanes, from `index` on; those past the end are loaded as 0 and not stored."""

    builder: ir.IRBuilder
    index: ir.Value
    inside: ir.Value | None  # which of them are, None for all
    lanes: int = LANES

    def load(self, x, start=ZERO) -> ir.Value:
        """Of the vector from x[start] on."""
        address = self.builder.gep(self.builder.gep(x, [start]), [self.index])
        if self.inside is None:
            return load(self.builder, address, self.lanes)
        return load_where(self.builder, self.inside, address, zeros(address, self.lanes))

    def store(self, lanes, x, start=ZERO) -> None:
        address = self.builder.gep(self.builder.gep(x, [start]), [self.index])
        if self.inside is None:
            store(self.builder, lanes, address)
        else:
            store_where(self.builder, self.inside, lanes, address)


class Head(NamedTuple):
    number: ir.Value
    at: ir.Value  # of its vector where each head has one
    group_at: ir.Value  # of its vector where the heads of a group share one
    is_first: ir.Value  # of its group


class Builder:
    """An IRBuilder, `ir`, and the loops and sums of vectors; x, y, table are addresses."""

    def __init__(self, builder: ir.IRBuilder, lanes: int = LANES):
        self.ir, self.lanes = builder, lanes

    def number(self, x, *index) -> ir.Value:
        for step in index:
            x = self.ir.gep(x, [step])
        return self.ir.load(x)

    def eight(self, x, at=ZERO) -> list[ir.Value]:
        """Eight numbers one by one."""
        return [self.number(x, at, INT64(lane)) for lane in range(LANES)]

    def rows(self, table, places) -> list[ir.Value]:
        """The addresses table + places[lane]."""
        return [self.ir.gep(table, [place]) for place in self.eight(places)]

    def variable(self, start) -> Variable:
        return Variable(self.ir, start)

    def add(self, x, y) -> ir.Value:
        return self.ir.fadd(x, y, flags=FLAGS)

    def multiply(self, x, y) -> ir.Value:
        return self.ir.fmul(x, y, flags=FLAGS)

    def multiply_add(self, x, y, z) -> ir.Value:
        """x * y + z"""
        return call_llvm(self.ir, f"fmuladd.{suffix(x.type)}", x.type, x, y, z, flags=FLAGS)

    def add_up(self, lanes: list[ir.Value]) -> ir.Value:
        while len(lanes) > 1:
            lanes = [self.add(*pair) for pair in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    @contextmanager
    def each(self, start, stop, step) -> Iterator[ir.Value]:
        """A loop over start, start + step, ... below stop. Most take few rounds, so LLVM is kept from unrolling them."""
        builder = self.ir
        before, test, body, after = builder.basic_block, *(builder.append_basic_block() for _ in range(3))
        builder.branch(test)
        builder.position_at_end(test)
        index = builder.phi(INT64)
        index.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, after)
        builder.position_at_end(body)
        yield index
        index.add_incoming(builder.add(index, step), builder.block)
        module = builder.module
        as_it_is = ir.MDValue(module, (), str(len(module.metadata)))
        as_it_is.operands = as_it_is, module.add_metadata(["llvm.loop.unroll.disable"])  # LLVM wants itself first
        builder.branch(test).set_metadata("llvm.loop", as_it_is)
        builder.position_at_end(after)

    def each_part(self, size, body: Callable[[Part], None], start=ZERO) -> None:
        """body(part) for the numbers of a vector from a multiple of the lanes on, and once more for those that are left."""
        whole = self.ir.and_(size, INT64(-self.lanes))
        with self.each(start, whole, INT64(self.lanes)) as index:
            body(Part(self.ir, index, None, self.lanes))
        with self.ir.if_then(self.ir.icmp_signed("<", whole, size)):
            body(Part(self.ir, whole, first_of(self.ir, self.ir.sub(size, whole), self.lanes), self.lanes))

    @contextmanager
    def each_head(self, heads, group, size) -> Iterator[Head]:
        """A loop over heads with vectors of `size` numbers, of which `group` at a time belong together."""
        group_at, left = self.variable(ZERO), self.variable(group)
        with self.each(ZERO, heads, INT64(1)) as number:
            now = left.value
            yield Head(number, self.ir.mul(number, size), group_at.value, self.ir.icmp_signed("==", now, group))
            is_last = self.ir.icmp_signed("==", now, INT64(1))
            left.value = self.ir.select(is_last, group, self.ir.sub(now, INT64(1)))
            group_at.value = self.ir.add(group_at.value, self.ir.select(is_last, size, ZERO))

    def ask_for_rows(self, table, places, at, size) -> None:
        """Prefetches row[at : at + size] of the eight rows."""
        with self.each(ZERO, size, INT64(LINE // bytes_of(table.type.pointee))) as index:
            for row in self.rows(self.ir.gep(table, [at]), places):
                ask_for(self.ir, self.ir.gep(row, [index]))

    def ask_for_group(self, table, places, head: Head, size) -> None:
        """The same for what the heads of a group share, once; nothing where `places` is None."""
        if places is not None:
            with self.ir.if_then(head.is_first):
                self.ask_for_rows(table, places, head.group_at, size)

    def sums_of_rows(self, rows, at, size, term: Callable[[Part], Callable]) -> ir.Value:
        """The sum over all numbers of row[at : at + size] of factor * x, for each of the eight rows.

        `term(part)(lanes of a row)` gives (factor, x).
        """
        totals = [self.variable(zeros(row)) for row in rows]

        def add(part: Part) -> None:
            factors = term(part)
            for total, row in zip(totals, rows, strict=True):
                total.value = self.multiply_add(*factors(part.load(row, at)), total.value)

        self.each_part(size, add)
        return self.sums([total.value for total in totals])

    def sums(self, vectors) -> ir.Value:
        """The sums of eight vectors, one in each lane: neighbours are added pair by pair."""
        step = 1
        while len(vectors) > 1:
            low = [i + j for i in range(0, LANES, 2 * step) for k in (0, LANES) for j in range(k, k + step)]
            halves = [ir.Constant(ir.VectorType(INT32, LANES), [i + s for i in low]) for s in (0, step)]
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [self.add(*(self.ir.shuffle_vector(x, y, half) for half in halves)) for x, y in pairs]
            step *= 2
        return vectors[0]

    def transposed(self, vectors: list[ir.Value]) -> list[ir.Value]:
        """Vector i of the result has number i of every vector; there are as many vectors as lanes."""
        step = 1
        while step < self.lanes:
            low = [j if not j & step else self.lanes + j - step for j in range(self.lanes)]
            halves = [ir.Constant(ir.VectorType(INT32, self.lanes), [j + shift for j in low]) for shift in (0, step)]
            pairs = [(vectors[i & ~step], vectors[i | step], halves[bool(i & step)]) for i in range(self.lanes)]
            vectors = [self.ir.shuffle_vector(*pair) for pair in pairs]
            step *= 2
        return vectors
