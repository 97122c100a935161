"""Eight numbers, or as many as a register has, as one value for Numba, whose own vectorizer finds none in short loops.

`Lanes` add, subtract, multiply and divide as numbers do, and with numbers. Arrays are one-dimensional and contiguous; an
index counts elements, and nothing is checked. Everything here runs in compiled code only.
"""

import math
import operator

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
WIDE = 16 if binding.get_host_cpu_features().get("avx512f") else LANES  # float32 that are multiplied and added at once
# No 'nnan' and 'ninf': NaN must reach whoever sees it, and -inf is how an edge is taken away.
FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
FLAGS = tuple(sorted(FASTMATH))
INT32, INT64 = ir.IntType(32), ir.IntType(64)
ZERO = INT64(0)

# Inner functions own no memory. Without Numba's runtime they do not count references to the arrays that they are handed on
# every call, which took as long as the arithmetic.
OPTIONS = {"fastmath": FASTMATH, "error_model": "numpy", "_nrt": False}
inner = njit(**OPTIONS, forceinline=False)  # left out, it would be what the caller's is
inlined = njit(**OPTIONS, forceinline=True)


class Lanes(types.Type):
    """The type of some float32 or float64."""

    def __init__(self, dtype: types.Float, count: int = LANES):
        self.dtype, self.count = dtype, count
        super().__init__(f"lanes({dtype} x {count})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes: Lanes):
        super().__init__(manager, lanes, ir.VectorType(element_type(lanes), lanes.count))


def element_type(typed) -> ir.Type:
    """Of lanes, of an array or of a number."""
    return ir.FloatType() if getattr(typed, "dtype", typed) == types.float32 else ir.DoubleType()


def spread(builder, number, count: int = LANES) -> ir.Value:
    """A number in every lane."""
    vector = ir.VectorType(number.type, count)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, number, INT32(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(INT32, count), [0] * count))


def bytes_of(element: ir.Type) -> int:
    return 4 if isinstance(element, ir.FloatType) or element == INT32 else 8


def call_llvm(builder, name: str, result: ir.Type, *args: ir.Value, flags=()) -> ir.Value:
    """A call of LLVM's own function."""
    kind = ir.FunctionType(result, [x.type for x in args])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}")
    return builder.call(function, args, fastmath=flags)


def suffix(vector: ir.VectorType) -> str:
    """By which LLVM tells its functions for one kind of vectors from those for others."""
    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    return f"v{vector.count}{letter}{8 * bytes_of(vector.element)}"


def load(builder, pointer, count: int = LANES) -> ir.Value:
    """So many numbers from a number's address on."""
    element = pointer.type.pointee
    vector = builder.load(builder.bitcast(pointer, ir.VectorType(element, count).as_pointer()))
    vector.align = bytes_of(element)  # rows start anywhere
    return vector


def store(builder, vector, pointer) -> None:
    place = builder.bitcast(pointer, vector.type.as_pointer())
    builder.store(vector, place).align = bytes_of(vector.type.element)


def numbers(lanes: int = LANES) -> ir.Constant:
    """0 ... lanes - 1."""
    return ir.Constant(ir.VectorType(INT64, lanes), list(range(lanes)))


def first_of(builder, count, lanes: int = LANES) -> ir.Value:
    """Whether each lane is one of the first `count`."""
    return builder.icmp_signed("<", numbers(lanes), spread(builder, count, lanes))


def load_where(builder, mask, pointer, otherwise) -> ir.Value:
    """Numbers from an address on in the lanes of the mask, and `otherwise` in those that are not even read."""
    vector = otherwise.type
    place, align = builder.bitcast(pointer, vector.as_pointer()), INT32(bytes_of(vector.element))
    return call_llvm(builder, f"masked.load.{suffix(vector)}.p0", vector, place, align, mask, otherwise)


def store_where(builder, mask, vector, pointer) -> None:
    place, align = builder.bitcast(pointer, vector.type.as_pointer()), INT32(bytes_of(vector.type.element))
    call_llvm(builder, f"masked.store.{suffix(vector.type)}.p0", ir.VoidType(), vector, place, align, mask)


def data_of(context, builder, array_type, array) -> ir.Value:
    return context.make_array(array_type)(context, builder, array).data


def loader(count: int):
    @intrinsic
    def lanes_from(typing, array, index):
        def generate(context, builder, signature, args):
            start = data_of(context, builder, signature.args[0], args[0])
            return load(builder, builder.gep(start, [args[1]]), count)

        return Lanes(array.dtype, count)(array, types.int64), generate

    return lanes_from


lanes_at = loader(LANES)  # array[index : index + 8]
wide_at = loader(WIDE)  # array[index : index + WIDE]


@intrinsic
def put_lanes(typing, lanes, array, index):
    """array[index : index + lanes] = lanes."""

    def generate(context, builder, signature, args):
        store(builder, args[0], builder.gep(data_of(context, builder, signature.args[1], args[1]), [args[2]]))
        return context.get_dummy_value()

    return types.void(lanes, array, types.int64), generate


@intrinsic
def filled(typing, number):
    """Lanes that all hold one number."""
    return Lanes(number)(number), lambda context, builder, signature, args: spread(builder, args[0])


@intrinsic
def gathered(typing, array, places, first, shift):
    """array[places[first + lane] + shift] in every lane."""

    def generate(context, builder, signature, args):
        array_type, places_type, _, _ = signature.args
        start = builder.gep(data_of(context, builder, array_type, args[0]), [args[3]])
        places = builder.gep(data_of(context, builder, places_type, args[1]), [args[2]])
        vector = ir.Constant(ir.VectorType(element_type(array_type), LANES), ir.Undefined)
        for lane in range(LANES):
            place = builder.load(builder.gep(places, [INT64(lane)]))
            vector = builder.insert_element(vector, builder.load(builder.gep(start, [place])), INT32(lane))
        return vector

    return Lanes(array.dtype)(array, places, types.int64, types.int64), generate


@intrinsic
def first_lanes(typing, lanes, count):
    """The first `count` lanes, and 0 in the others."""

    def generate(context, builder, signature, args):
        return builder.select(first_of(builder, args[1]), args[0], ir.Constant(args[0].type, [0.0] * LANES))

    return lanes(lanes, types.int64), generate


@intrinsic
def where_at_least(typing, x, y, a, b):
    """a in lanes with x >= y, b in the others, also where one is NaN; numbers stand for lanes that all hold them."""
    lanes = next(t for t in (x, y, a, b) if isinstance(t, Lanes))

    def generate(context, builder, signature, args):
        x, y, a, b = (as_lanes(context, builder, lanes, *pair) for pair in zip(args, signature.args, strict=True))
        return builder.select(builder.fcmp_ordered(">=", x, y), a, b)

    return lanes(x, y, a, b), generate


def as_lanes(context, builder, lanes: Lanes, value, typed) -> ir.Value:
    return value if typed == lanes else spread(builder, context.cast(builder, value, typed, lanes.dtype), lanes.count)


def let_lanes(operation, name: str) -> None:
    """Teaches Numba an operator for lanes, or for lanes and a number."""

    @intrinsic
    def apply(typing, a, b):
        lanes = a if isinstance(a, Lanes) else b

        def generate(context, builder, signature, args):
            x, y = (as_lanes(context, builder, lanes, *pair) for pair in zip(args, signature.args, strict=True))
            return getattr(builder, name)(x, y, flags=FLAGS)

        return lanes(a, b), generate

    @overload(operation, jit_options=OPTIONS)
    def of_lanes(a, b):
        if isinstance(a, Lanes) or isinstance(b, Lanes):
            return lambda a, b: apply(a, b)
        return None


for operation, name in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    let_lanes(getattr(operator, operation), name)


def make_reduction(name: str, start: float | None):
    @intrinsic
    def reduction(typing, lanes):
        def generate(context, builder, signature, args):
            element = args[0].type.element
            arguments = [args[0]] if start is None else [ir.Constant(element, start), args[0]]
            return call_llvm(builder, f"vector.reduce.{name}.{suffix(args[0].type)}", element, *arguments, flags=FLAGS)

        return lanes.dtype(lanes), generate

    return reduction


total_of, largest_of = make_reduction("fadd", 0.0), make_reduction("fmax", None)


@intrinsic
def floors(typing, lanes):
    def generate(context, builder, signature, args):
        return call_llvm(builder, f"floor.{suffix(args[0].type)}", args[0].type, args[0])

    return lanes(lanes), generate


@intrinsic
def powers_of_two(typing, lanes):
    """2^lanes for whole float32 in -126 ... 127, by their exponent bits."""

    def generate(context, builder, signature, args):
        integers = ir.VectorType(INT32, lanes.count)
        whole = builder.fptosi(args[0], integers)
        shifted = builder.add(whole, ir.Constant(integers, [127] * lanes.count))
        return builder.bitcast(builder.shl(shifted, ir.Constant(integers, [23] * lanes.count)), args[0].type)

    return lanes(lanes), generate


def ask_for(builder, pointer) -> None:
    """Prefetches a cache line."""
    place = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    call_llvm(builder, "prefetch.p0", ir.VoidType(), place, INT32(0), INT32(3), INT32(1))  # read, all caches, data


def one_by_one(function):
    """A function of a number, for lanes of float64."""

    @intrinsic
    def replace_lane(typing, lanes, lane, number):
        return lanes(lanes, types.int64, number), lambda context, builder, signature, args: builder.insert_element(
            args[0], args[2], args[1]
        )

    @intrinsic
    def lane_of(typing, lanes, lane):
        return lanes.dtype(lanes, types.int64), lambda context, builder, signature, args: builder.extract_element(*args)

    @inner
    def of_lanes(x):
        for lane in range(LANES):
            x = replace_lane(x, lane, function(lane_of(x, lane)))
        return x

    return of_lanes


exp_float64, tanh_float64 = one_by_one(math.exp), one_by_one(math.tanh)


@inlined
def exp_float32(x):
    """exp with a relative error below 2e-7, as a polynomial (coefficients of Cephes' expf).

    0 below x = -87.7 and infinity above 88.4, close to where float32 ends: there the bits of the exponent say so. NaN stays NaN.
    """
    least, most = np.float32(-88.0), np.float32(89.0)
    inside = where_at_least(least, x, least, x)
    inside = where_at_least(inside, most, most, inside)
    whole = floors(inside * np.float32(1.44269504) + np.float32(0.5))
    rest = inside - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    series = rest * np.float32(1.9875691500e-4) + np.float32(1.3981999507e-3)
    series = series * rest + np.float32(8.3334519073e-3)
    series = series * rest + np.float32(4.1665795894e-2)
    series = series * rest + np.float32(1.6666665459e-1)
    series = series * rest + np.float32(5.0000001201e-1)
    return (series * rest * rest + rest + np.float32(1)) * powers_of_two(whole)


@inlined
def tanh_float32(x):
    """tanh to an absolute error of 1e-7."""
    return np.float32(1) - np.float32(2) / (exp_float32(x * np.float32(2)) + np.float32(1))


@inlined
def in_eights(count):
    """The next multiple of eight."""
    return (count + LANES - 1) // LANES * LANES


def exponentials(x):
    """exp of every lane."""
    raise TypeError("'exponentials' runs in compiled code only")


@overload(exponentials, jit_options=OPTIONS)
def exponentials_of(x):
    exp = exp_float32 if x.dtype == types.float32 else exp_float64
    return lambda x: exp(x)


def tanhs(x):
    """tanh of every lane."""
    raise TypeError("'tanhs' runs in compiled code only")


@overload(tanhs, jit_options=OPTIONS)
def tanhs_of(x):
    tanh = tanh_float32 if x.dtype == types.float32 else tanh_float64
    return lambda x: tanh(x)
