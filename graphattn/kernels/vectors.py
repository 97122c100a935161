"""Vector instructions for Numba: loads of many lanes at once, which its own vectorizer does not find for short rows.

All arrays are one-dimensional and contiguous; an index counts elements, and nothing is checked.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

# No 'nnan' and 'ninf': NaN must reach whoever sees it, and -inf is how an edge is taken away.
FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
INT32 = ir.IntType(32)

# Inner functions own no memory. Without Numba's runtime they do not count references to the arrays that they are handed on
# every call, which took as long as the arithmetic.
OPTIONS = {"fastmath": FASTMATH, "error_model": "numpy", "_nrt": False}
inner = njit(**OPTIONS)
inlined = njit(**OPTIONS, forceinline=True)


def element_type(array_type):
    return ir.FloatType() if array_type.dtype == types.float32 else ir.DoubleType()


def lanes_pointer(context, builder, array_type, array, index, lanes):
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(element_type(array_type), lanes)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def load(builder, pointer, array_type):
    vector = builder.load(pointer)
    vector.align = array_type.dtype.bitwidth // 8  # rows start anywhere
    return vector


def make_dot(lanes):
    @intrinsic
    def dot_lanes(typing, a, a_start, b, b_start):
        signature = a.dtype(a, types.int64, b, types.int64)

        def generate(context, builder, signature, args):
            a_type, _, b_type, _ = signature.args
            x = load(builder, lanes_pointer(context, builder, a_type, args[0], args[1], lanes), a_type)
            y = load(builder, lanes_pointer(context, builder, b_type, args[2], args[3], lanes), b_type)
            element = element_type(a_type)
            name = f"llvm.vector.reduce.fadd.v{lanes}f{a_type.dtype.bitwidth}"
            kind = ir.FunctionType(element, [element, ir.VectorType(element, lanes)])
            reduce = cgutils.get_or_insert_function(builder.module, kind, name)
            product = builder.fmul(x, y, flags=("contract", "reassoc"))
            return builder.call(reduce, [ir.Constant(element, 0.0), product], fastmath=("reassoc", "contract"))

        return signature, generate

    return dot_lanes


def make_add_scaled(lanes):
    @intrinsic
    def add_scaled_lanes(typing, factor, x, x_start, y, y_start):
        signature = types.void(x.dtype, x, types.int64, y, types.int64)

        def generate(context, builder, signature, args):
            _, x_type, _, y_type, _ = signature.args
            vector = ir.VectorType(element_type(x_type), lanes)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[0], INT32(0))
            zeros = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
            factors = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)
            x_values = load(builder, lanes_pointer(context, builder, x_type, args[1], args[2], lanes), x_type)
            y_pointer = lanes_pointer(context, builder, y_type, args[3], args[4], lanes)
            product = builder.fmul(factors, x_values, flags=("contract",))
            total = builder.fadd(load(builder, y_pointer, y_type), product, flags=("contract",))
            builder.store(total, y_pointer).align = y_type.dtype.bitwidth // 8
            return context.get_dummy_value()

        return signature, generate

    return add_scaled_lanes


def make_add_combination(lanes):
    @intrinsic
    def add_combination_lanes(typing, factors, start, step, x, x_start, x_step, count, y, y_start):
        signature = types.void(factors, types.int64, types.int64, x, *[types.int64] * 3, y, types.int64)

        def generate(context, builder, signature, args):
            a, start, step, x, x_start, x_step, count, y, y_start = args
            a_type, x_type, y_type = (signature.args[i] for i in (0, 3, 7))
            vector = ir.VectorType(element_type(x_type), lanes)
            zeros = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
            y_pointer = lanes_pointer(context, builder, y_type, y, y_start, lanes)
            total = cgutils.alloca_once_value(builder, load(builder, y_pointer, y_type))  # LLVM keeps it in registers
            factors = context.make_array(a_type)(context, builder, a).data
            with cgutils.for_range(builder, count) as loop:
                factor = builder.load(builder.gep(factors, [builder.add(start, builder.mul(step, loop.index))]))
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, INT32(0))
                spread = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)
                x_at = builder.add(x_start, builder.mul(x_step, loop.index))
                x_values = load(builder, lanes_pointer(context, builder, x_type, x, x_at, lanes), x_type)
                product = builder.fmul(spread, x_values, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            builder.store(builder.load(total), y_pointer).align = y_type.dtype.bitwidth // 8
            return context.get_dummy_value()

        return signature, generate

    return add_combination_lanes


LANES = (8, 16, 32, 64)  # head sizes that are one vector each, after which come loops over these
dot8, dot16, dot32, dot64 = (make_dot(lanes) for lanes in LANES)
add_combination8, add_combination64 = make_add_combination(8), make_add_combination(64)
add_scaled8, add_scaled16, add_scaled32, add_scaled64 = (make_add_scaled(lanes) for lanes in LANES)


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of array[index]."""
    signature = types.void(array, types.int64)

    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte_pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(data, [args[1]]), byte_pointer)
        builder.call(function, [address, INT32(0), INT32(3), INT32(1)])  # read, keep in all caches, data
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def float_from_bits(typing, bits):
    signature = types.float32(types.int32)

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return signature, generate


@inner
def dot(a, a_start, b, b_start, size):
    total = a.dtype.type(0)
    at = 0
    while at + 64 <= size:
        total += dot64(a, a_start + at, b, b_start + at)
        at += 64
    while at + 16 <= size:
        total += dot16(a, a_start + at, b, b_start + at)
        at += 16
    if at + 8 <= size:
        total += dot8(a, a_start + at, b, b_start + at)
        at += 8
    while at < size:
        total += a[a_start + at] * b[b_start + at]
        at += 1
    return total


@inner
def add_scaled(factor, x, x_start, y, y_start, size):
    """y += factor * x."""
    at = 0
    while at + 64 <= size:
        add_scaled64(factor, x, x_start + at, y, y_start + at)
        at += 64
    while at + 16 <= size:
        add_scaled16(factor, x, x_start + at, y, y_start + at)
        at += 16
    if at + 8 <= size:
        add_scaled8(factor, x, x_start + at, y, y_start + at)
        at += 8
    while at < size:
        y[y_start + at] += factor * x[x_start + at]
        at += 1


@inner
def add_combination(factors, start, step, x, x_start, x_step, count, y, y_start, size):
    """y += the sum over i < count of factors[start + i * step] * x[x_start + i * x_step ...], `size` numbers each."""
    at = 0
    while at + 64 <= size:
        add_combination64(factors, start, step, x, x_start + at, x_step, count, y, y_start + at)
        at += 64
    while at + 8 <= size:
        add_combination8(factors, start, step, x, x_start + at, x_step, count, y, y_start + at)
        at += 8
    while at < size:
        for i in range(count):
            y[y_start + at] += factors[start + i * step] * x[x_start + i * x_step + at]
        at += 1


def for_heads_of(dot_one, add_one):
    """Loops over heads for one vector operation: calls cost more than the arithmetic of a short head."""

    @inlined
    def dots(result, at, a, a_at, b, b_at, groups, group, size):
        for _ in range(groups):
            for _ in range(group):
                result[at] = dot_one(a, a_at, b, b_at)
                at += 1
                a_at += size
            b_at += size

    @inlined
    def adds(factors, at, x, x_at, x_head, x_group, y, y_at, y_head, y_group, groups, group):
        for _ in range(groups):
            for _ in range(group):
                add_one(factors[at], x, x_at, y, y_at)
                at += 1
                x_at += x_head
                y_at += y_head
            x_at += x_group
            y_at += y_group

    return dots, adds


dots8, adds8 = for_heads_of(dot8, add_scaled8)
dots16, adds16 = for_heads_of(dot16, add_scaled16)
dots32, adds32 = for_heads_of(dot32, add_scaled32)
dots64, adds64 = for_heads_of(dot64, add_scaled64)


@inlined
def dot_heads(result, at, a, a_at, b, b_at, groups, group, size):
    """result[at + h] = a[head h] . b[group of h] for groups * group heads of `size` numbers, `group` heads per vector of b."""
    if size == 8:
        dots8(result, at, a, a_at, b, b_at, groups, group, size)
    elif size == 16:
        dots16(result, at, a, a_at, b, b_at, groups, group, size)
    elif size == 32:
        dots32(result, at, a, a_at, b, b_at, groups, group, size)
    elif size == 64:
        dots64(result, at, a, a_at, b, b_at, groups, group, size)
    else:
        for _ in range(groups):
            for _ in range(group):
                result[at] = dot(a, a_at, b, b_at, size)
                at += 1
                a_at += size
            b_at += size


@inlined
def add_heads(factors, at, x, x_at, x_head, x_group, y, y_at, y_head, y_group, groups, group, size):
    """y[head h] += factors[at + h] * x[head h]; x and y step by _head after each head and by _group after each group."""
    if size == 8:
        adds8(factors, at, x, x_at, x_head, x_group, y, y_at, y_head, y_group, groups, group)
    elif size == 16:
        adds16(factors, at, x, x_at, x_head, x_group, y, y_at, y_head, y_group, groups, group)
    elif size == 32:
        adds32(factors, at, x, x_at, x_head, x_group, y, y_at, y_head, y_group, groups, group)
    elif size == 64:
        adds64(factors, at, x, x_at, x_head, x_group, y, y_at, y_head, y_group, groups, group)
    else:
        for _ in range(groups):
            for _ in range(group):
                add_scaled(factors[at], x, x_at, y, y_at, size)
                at += 1
                x_at += x_head
                y_at += y_head
            x_at += x_group
            y_at += y_group


@inner
def exp_float32(x):
    """exp with a relative error below 2e-7, as a polynomial that vectorizes (coefficients of Cephes' expf).

    0 below x = -87 and infinity above 88, close to where float32 ends; NaN stays NaN.
    """
    inside = x if x > np.float32(-87.0) else np.float32(-87.0)
    inside = inside if inside < np.float32(88.0) else np.float32(88.0)
    whole = np.floor(inside * np.float32(1.44269504) + np.float32(0.5))
    rest = inside - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    series = np.float32(1.9875691500e-4)
    series = series * rest + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    power = float_from_bits((np.int32(whole) + np.int32(127)) << np.int32(23))
    result = (series * rest * rest + rest + np.float32(1)) * power
    result = result if x >= np.float32(-87.0) else np.float32(0)
    result = result if x <= np.float32(88.0) else np.float32(np.inf)
    return result if x == x else x


def exponentials(x, count):
    """Replaces the first `count` numbers of x by their exp (compiled code only)."""
    raise TypeError("'exponentials' runs in compiled code only")


@overload(exponentials, jit_options=OPTIONS)
def exponentials_of(x, count):
    exp = exp_float32 if x.dtype == types.float32 else math.exp

    def replace(x, count):
        for i in range(count):
            x[i] = exp(x[i])

    return replace


def tanhs(x, count):
    """Replaces the first `count` numbers of x by their tanh, to an absolute error of 1e-7 in float32 (compiled code only)."""
    raise TypeError("'tanhs' runs in compiled code only")


@overload(tanhs, jit_options=OPTIONS)
def tanhs_of(x, count):
    if x.dtype == types.float32:

        def replace(x, count):
            one, two = np.float32(1), np.float32(2)
            for i in range(count):
                x[i] = one - two / (exp_float32(two * x[i]) + one)

    else:

        def replace(x, count):
            for i in range(count):
                x[i] = math.tanh(x[i])

    return replace
