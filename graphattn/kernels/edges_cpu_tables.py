"""Sums over eight rows of a table at once, for edges_cpu_rows and edges_cpu_gradients.

A table is a flat array; a row is the numbers from `places[lane]` on, for the eight lanes: the vectors of all heads at the nodes
of eight edges. `coming` are the places of the eight rows that will be wanted next, asked for head by head; None for none.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphattn.kernels.edges_cpu_builder import Builder, of_addresses, zeros
from graphattn.kernels.vectors import (
    INT64,
    LANES,
    ZERO,
    data_of,
    first_of,
    inlined,
    load,
    load_where,
    numbers,
    spread,
    store,
)


@intrinsic
def put_places(typing, places, at, nodes, start, count, otherwise, width):
    """places[at + lane] = width * nodes[start + lane] for the first `count` of eight lanes, width * otherwise for the rest.

    None stands for nodes that are 0, 1, 2, ...
    """

    def generate(context, builder, signature, args):
        places, at, nodes, start, count, otherwise, width = args
        is_first, otherwise = first_of(builder, count), spread(builder, otherwise)
        if nodes_type == types.none:
            found = builder.select(is_first, builder.add(spread(builder, start), numbers()), otherwise)
        else:
            here = builder.gep(data_of(context, builder, nodes_type, nodes), [start])
            found = builder.sext(load_where(builder, is_first, here, otherwise), ir.VectorType(INT64, LANES))
        to = builder.gep(data_of(context, builder, signature.args[0], places), [at])
        store(builder, builder.mul(found, spread(builder, width)), to)
        return context.get_dummy_value()

    nodes_type, long = nodes, types.int64
    kind = long if nodes == types.none else nodes.dtype
    return types.void(places, long, nodes, long, long, kind, long), generate


@inlined
def find_places(places, at, nodes, start, count, width):
    """places[at + lane] = width * nodes[start + lane] for eight edges, or `count` if that is less, the last one repeated.

    Behind them come those of the next eight edges.
    """
    end, last = start + min(count, LANES), nodes.size - 1
    put_places(places, at, nodes, start, count, nodes[end - 1], width)
    put_places(places, at + LANES, nodes, end, nodes.size - end, nodes[last], width)


@of_addresses
def dot_heads(b: Builder, to, step, a, table, places, coming, heads, group, size, scale, is_added):
    """to[h * step + lane] = scale * a[head h] · row[group of h], or += where `is_added`."""
    rows, scale = b.rows(table, places), spread(b.ir, scale)
    with b.each_head(heads, group, size) as head:
        b.ask_for_group(table, coming, head, size)

        def term(part):
            factor = part.load(a, head.at)
            return lambda row: (factor, row)

        products = b.sums_of_rows(rows, head.group_at, size, term)
        here = b.ir.gep(to, [b.ir.mul(head.number, step)])
        before = b.ir.select(is_added, load(b.ir, here), zeros(to))
        store(b.ir, b.multiply_add(products, scale, before), here)


@of_addresses
def add_heads(b: Builder, weights, step, table, places, coming, y, heads, group, size):
    """y[head h] += the sum of weights[h * step + lane] * row[group of h] over the eight rows."""
    rows = b.rows(table, places)
    with b.each_head(heads, group, size) as head:
        b.ask_for_group(table, coming, head, size)
        add_rows(b, b.eight(weights, b.ir.mul(head.number, step)), rows, head.group_at, y, head.at, size)


@of_addresses
def add_heads_by_places(b: Builder, weights, weight_places, table, places, coming, y, heads, group, size):
    """y[group of h] += the sum of weights[weight_places[lane] + h] * row[head h] over the eight rows."""
    rows, weights = b.rows(table, places), b.rows(weights, weight_places)
    with b.each_head(heads, group, size) as head:
        b.ask_for_rows(table, coming, head.at, size)
        add_rows(b, [b.number(x, head.number) for x in weights], rows, head.at, y, head.group_at, size)


def add_rows(b: Builder, factors, rows, at, y, y_at, size) -> None:
    """y[y_at : y_at + size] += the sum of factor * row[at : at + size]."""
    factors = [spread(b.ir, factor) for factor in factors]

    def add(part):
        total = part.load(y, y_at)
        for factor, row in zip(factors, rows, strict=True):
            total = b.multiply_add(factor, part.load(row, at), total)
        part.store(total, y, y_at)

    b.each_part(size, add)


@of_addresses
def set_heads(b: Builder, factors, x, is_first, table, places, heads, group, size):
    """row[group of h] = the sum of factors[h * 8 + lane] * x[head h] over the heads of a group, or += if not `is_first`.

    Of rows that are the same one, the first lane's is kept.
    """
    rows = b.rows(table, places)
    with b.each_head(heads, group, size) as head:
        of_edges = [spread(b.ir, factor) for factor in b.eight(factors, b.ir.mul(head.number, INT64(LANES)))]
        is_new = b.ir.and_(is_first, head.is_first)

        def put(part):
            vector = part.load(x, head.at)
            for factor, row in list(zip(of_edges, rows, strict=True))[::-1]:
                before = b.ir.select(is_new, zeros(x), part.load(row, head.group_at))
                part.store(b.multiply_add(vector, factor, before), row, head.group_at)

        b.each_part(size, put)


@of_addresses
def prefetch_rows(b: Builder, table, places, size):
    """Asks for the eight rows, `size` numbers each."""
    b.ask_for_rows(table, places, ZERO, size)
