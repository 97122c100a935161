"""Vectors of eight numbers in C, compiled for every processor that this one can stand in for, against torch in float64."""

import ctypes
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from graphattn.formulas import dropout
from graphattn.kernels.native import build, edges
from graphattn.kernels.native.border import hand_over
from graphattn.kernels.native.library import library, why_not_native

REALS = {torch.float32: "_f32", torch.float64: "_f64"}
LEVELS = build.X86_LEVELS if platform.machine().lower() in ("x86_64", "amd64") else {"": []}


@pytest.fixture(scope="module", params=[(level, real) for level in LEVELS for real in REALS], ids=str)
def loops(request, tmp_path_factory):
    """The functions of vectors.c, and the dtype of their numbers."""
    level, real = request.param
    if why_not_native() is not None or level > library().level().decode():
        pytest.skip("this processor does not run it")
    if build.installed_compiler() is None:
        pytest.skip("there is no C compiler here")
    target = tmp_path_factory.mktemp("vectors") / "vectors.so"
    flags = [
        *build.FLAGS,
        *LEVELS[level],
        *build.REALS[REALS[real]],
        "-DSUFFIX=_",
        "-fPIC",
        "-shared",
        f"-I{build.HERE}",
    ]
    source = Path(__file__).with_name("vectors.c")
    subprocess.run([*build.installed_compiler(), *flags, str(source), "-lm", "-o", str(target)], check=True)
    return ctypes.CDLL(str(target)), real


def call(function, *arguments):
    function.restype = None
    addresses = [ctypes.c_void_p(x.data_ptr()) if isinstance(x, torch.Tensor) else ctypes.c_int64(x) for x in arguments]
    function(*addresses)


def test_exp_is_accurate_where_weights_live(loops):
    library, real = loops
    x = torch.linspace(-86, 80, 100_000).to(real)
    wanted = x.double().exp()
    call(library.exp_all, x, x.numel())
    assert ((x - wanted).abs() / wanted).max() < (3e-7 if real == torch.float32 else 1e-15)


def test_exp_at_the_ends(loops):
    library, real = loops
    x = torch.tensor([-torch.inf, -1e30, 0, torch.inf, torch.nan, -0.0, 1000, -1000], dtype=real)
    call(library.exp_all, x, 8)
    assert x.nan_to_num(7, posinf=9).tolist() == [0, 0, 1, 9, 7, 1, 9, 0]


def test_log_of_what_a_sum_of_softmax_can_be(loops):
    library, real = loops
    x = torch.cat([torch.logspace(0, 30, 99_997), torch.tensor([1.0, torch.inf, torch.nan])]).to(real)
    wanted = x.double().log()
    call(library.log_all, x, x.numel())
    tolerance = {"rtol": 2e-7, "atol": 1e-7} if real == torch.float32 else {"rtol": 1e-15, "atol": 1e-15}
    torch.testing.assert_close(x.double(), wanted, **tolerance, equal_nan=True)


def test_tanh(loops):
    library, real = loops
    x = torch.cat([torch.linspace(-20, 20, 9_997), torch.tensor([-torch.inf, torch.inf, torch.nan])]).to(real)
    wanted = x.double().tanh()
    call(library.tanh_all, x, x.numel())
    torch.testing.assert_close(
        x.double(), wanted, rtol=0, atol=2e-7 if real == torch.float32 else 1e-15, equal_nan=True
    )


def test_sums_and_transposes(loops):
    library, real = loops
    lanes = library.num_lanes()
    x, to = torch.randn(lanes, lanes, dtype=real), torch.empty(2 + lanes + lanes**2, dtype=real)
    call(library.reduce, x, to)
    torch.testing.assert_close(to[0], x[0].sum(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(to[2 : 2 + lanes], x.sum(1), rtol=1e-5, atol=1e-5)
    assert torch.equal(to[2 + lanes :].view(lanes, lanes), x.t())
    for largest in range(lanes):
        x[0, largest] = 10 + largest
        call(library.reduce, x, to)
        assert to[1] == 10 + largest


def test_bits_of_a_mask_and_back(loops):
    library, real = loops
    lanes = library.num_lanes()
    for bits in range(2**lanes):
        is_below = torch.tensor([bool(bits >> i & 1) for i in range(lanes)])
        x, to = (
            (0.5 - is_below.to(real)),
            torch.empty(lanes, dtype=torch.int32 if real == torch.float32 else torch.int64),
        )
        library.bits_below.restype = ctypes.c_int64
        assert library.bits_below(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(to.data_ptr())) == bits
        assert torch.equal(to, -is_below.to(to.dtype))


def test_of_nan_and_a_number_the_second_is_taken(loops):
    library, real = loops
    x = torch.tensor([1, 2, torch.nan, 3, torch.inf, -torch.inf, 0, -1], dtype=real)
    y, to = torch.tensor([2, 1, 5, torch.nan, 0, 0, 0, -2], dtype=real), torch.empty(16, dtype=real)
    call(library.larger_and_smaller, x, y, to)
    assert to.nan_to_num(9, posinf=8, neginf=-8).tolist() == [2, 2, 5, 9, 8, 0, 0, -1, 1, 1, 5, 9, 0, -8, 0, -2]


@pytest.mark.parametrize("count", range(20))
def test_parts_of_a_vector_touch_nothing_else(loops, count):
    library, real = loops
    x, to = torch.randn(count, dtype=real), torch.full((count + 9,), 7, dtype=real)
    call(library.copy, x, to, count)
    assert torch.equal(to[:count], x) and bool((to[count:] == 7).all())


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 17, 31, 40])
def test_sums_over_eight_rows(loops, size, n):
    library, real = loops
    lanes = library.num_lanes()
    n = min(n, lanes)
    table, a, to = torch.randn(20, size + 5, dtype=real), torch.randn(size, dtype=real), torch.empty(lanes, dtype=real)
    nodes, y = torch.tensor([19, 0, 3, 3, 7, 11, 5, 19])[:lanes], torch.randn(size + 9, dtype=real)
    wanted = y.clone()
    call(library.sums_of_rows, a, table, size + 5, nodes, 5, size, to, y, n)
    torch.testing.assert_close(to, table[nodes, 5:] @ a, rtol=1e-4, atol=1e-5)
    wanted[:size] += to[:n] @ table[nodes[:n], 5:]
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("heads, group", [(1, 1), (3, 1), (4, 2), (8, 1), (9, 3)])
@pytest.mark.parametrize("size", [1, 8, 11, 16, 32])
def test_sums_by_pair_of_edge_and_head(loops, heads, group, size):
    library, real = loops
    table, near = torch.randn(20, heads // group, size, dtype=real), torch.randn(heads, size, dtype=real)
    nodes = torch.tensor([19, 0, 3, 3, 7, 11, 5, 19])
    for n in (0, 1, 2, 4):
        to, y = torch.zeros(n * heads + 8, dtype=real), torch.ones(heads, size, dtype=real)
        call(library.sums_by_pair, near, table, table[0].numel(), nodes, n, heads, group, size, to, y)
        rows = table[nodes[:n]].repeat_interleave(group, 1)
        factors = to[: n * heads].view(n, heads)
        torch.testing.assert_close(factors, 0.5 * (near * rows).sum(2), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(y, 1 + (factors[..., None] * rows).sum(0), rtol=1e-4, atol=1e-4)


HALVES = {torch.bfloat16: 1, torch.float16: 2}


@pytest.mark.parametrize("dtype", HALVES)
def test_every_half_is_read(loops, dtype):
    library, real = loops
    if real == torch.float64:
        pytest.skip("double reads no halves")
    x = torch.arange(2**16).to(torch.uint16).view(dtype)
    to = torch.empty(2**16)
    call(library.widen_all, to, x, x.numel(), HALVES[dtype])
    assert torch.equal(to.isnan(), x.isnan()) and torch.equal(to.nan_to_num(7), x.float().nan_to_num(7))


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_rounded_as_by_torch(loops, dtype):
    library, real = loops
    if real == torch.float64:
        pytest.skip("double writes no halves")
    ties = torch.arange(2**16).to(torch.uint16).view(dtype).float()
    ties = (ties + ties.roll(-1)) / 2  # mostly halfway between neighbours
    bits = torch.randint(-(2**31), 2**31, (2**16,)).to(torch.int32).view(torch.float32)
    ends = torch.tensor(
        [65504.0, 65519.9, 65520.0, 3.3e38, 3.4e38, 6e-8, 3e-8, 2.9e-8, 1e-45, 0.0, torch.inf, torch.nan]
    )
    x = torch.cat([ties, bits, ends, -ends])
    to = torch.empty(x.numel(), dtype=dtype)
    call(library.narrow_all, to, x, x.numel(), HALVES[dtype])
    wanted = x.to(dtype)
    assert torch.equal(to.isnan(), wanted.isnan())
    assert torch.equal(to.nan_to_num(7).view(torch.uint16), wanted.nan_to_num(7).view(torch.uint16))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("count", range(18))
def test_halves_beside_those_of_a_row_stay_as_they_are(loops, dtype, count):
    library, real = loops
    if real == torch.float64:
        pytest.skip("double reads no halves")
    x, wide, back = (
        torch.randn(count).to(dtype),
        torch.full((count + 9,), 7.0),
        torch.full((count + 9,), 7.0, dtype=dtype),
    )
    call(library.widen_all, wide, x, count, HALVES[dtype])
    call(library.narrow_all, back, wide, count, HALVES[dtype])
    assert torch.equal(wide[:count], x.float()) and bool((wide[count:] == 7).all())
    assert torch.equal(back[:count], x) and bool((back[count:] == 7).all())


@pytest.mark.parametrize("with_repeats", [False, True])
@pytest.mark.parametrize("probability", [0.3, 1 - 2**-40, 1.0])
def test_dropout_is_that_of_torch_operations(loops, with_repeats, probability, heads=3, at=2):
    library, real = loops
    lanes = library.num_lanes()
    n = lanes - 1
    seed, query, nodes = 2**32 - 5, 10_000_019, torch.randint(0, 2**31, (8,))
    repeat = torch.arange(20) % 3 if with_repeats else None
    struct = edges.Edges(entries=20, heads=heads, seed=seed, threshold=round(probability * 2**32))
    struct.keep_scale = 0.0 if struct.threshold == 2**32 else 1 / (1 - probability)
    struct.expected = {"repeat": (torch.int64, 20)}
    hand_over(struct, real, repeat=repeat)
    factors = torch.empty(heads, lanes, dtype=real)
    library.factors_of(
        ctypes.byref(struct), *map(ctypes.c_void_p, [factors.data_ptr()]), ctypes.c_int64(query),
        ctypes.c_void_p(nodes.data_ptr()), ctypes.c_int64(at), ctypes.c_int64(n),
    )  # fmt: skip
    repeats = repeat[at : at + n] if with_repeats else torch.zeros(n, dtype=torch.long)
    wanted = dropout.keep_factors(
        torch.tensor(seed), torch.full((n,), query), nodes[:n], repeats, heads, probability, real
    )
    torch.testing.assert_close(factors[:, :n], wanted.T, rtol=1e-6, atol=0)
    assert torch.equal(factors[:, :n] == 0, wanted.T == 0)
