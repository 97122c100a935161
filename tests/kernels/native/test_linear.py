"""Linear maps by loops, beside products in float64."""

import pytest
import torch

from graphattn.kernels.native import border, linear, threads
from graphattn.kernels.native.library import level, library, why_not_native
from graphattn.testing.layouts import LAYOUTS
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

# (rows, inputs, outputs of each map): blocks and tiles that are full, begun, alone, and many.
SIZES = [
    (8, 1, (8,)),
    (9, 2, (8,)),
    (16, 32, (32,)),
    (13, 16, (9, 8)),
    (15, 33, (31, 8, 65)),
    (129, 37, (45,)),
    (300, 64, (64, 16, 64, 64)),
    (257, 5, (70,)),
    (300, 40, (7, 1, 9)),
    (40, 5, (3, 12)),
    (8, 7, (1,)),
]


def problem(rows, inputs, outputs, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def new(*shape):
        return torch.randn(shape, generator=generator)

    x, weights, grads = (
        new(rows, inputs),
        [new(size, inputs) for size in outputs],
        [new(rows, size) for size in outputs],
    )
    return x, weights, [None if number % 2 else new(size) for number, size in enumerate(outputs)], grads


def all_by_loops(x, weights, biases, grads):
    of_weights = linear.backward_weight(grads, x, [bias is not None for bias in biases])
    return [
        *linear.forward(x, weights, biases),
        *linear.forward(x, weights, biases, relu=True),
        linear.backward_input(grads, weights),
        linear.backward_input(grads, weights, x),
        *(weight for weight, _ in of_weights),
        *(bias for _, bias in of_weights),
    ]


def in_float64(x, weights, biases, grads):
    x, weights, grads = x.double(), [weight.double() for weight in weights], [grad.double() for grad in grads]
    results = [x @ weight.T + (0 if bias is None else bias.double()) for weight, bias in zip(weights, biases)]
    of_x = sum(grad @ weight for grad, weight in zip(grads, weights))
    return [
        *results,
        *(y.relu() for y in results),
        of_x,
        of_x.masked_fill(x <= 0, 0),
        *(grad.T @ x for grad in grads),
        *(None if bias is None else grad.sum(0) for grad, bias in zip(grads, biases)),
    ]


def check(found, wanted):
    assert len(found) == len(wanted)
    for own, right in zip(found, wanted):
        assert (own is None) == (right is None)
        if right is not None:
            torch.testing.assert_close(own.double(), right, rtol=1e-5, atol=1e-6 * max(1, len(right)))


def test_the_struct_has_the_fields_of_that_in_c():
    assert fields_in_c("linear_fields") == declared_fields(linear.Linear)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_as_products_in_float64(sizes):
    given = problem(*sizes)
    check(all_by_loops(*given), in_float64(*given))


def test_relu_of_long_sums_is_taken_once():
    x, weights, biases, grads = problem(20, 1100, (1030,))
    wanted = in_float64(x, weights, biases, grads)
    for own, right in zip(all_by_loops(x, weights, biases, grads)[:4], wanted):
        torch.testing.assert_close(own.double(), right, rtol=1e-4, atol=1e-4)


def test_relu_of_numbers_that_are_not_finite():
    x, weights, _, grads = problem(40, 20, (12,))
    x[7, 3] = torch.nan
    found, wanted = linear.forward(x, weights, [None], relu=True)[0], (x @ weights[0].T).relu()
    torch.testing.assert_close(found, wanted, equal_nan=True, rtol=1e-5, atol=1e-5)
    behind = x.relu()
    wanted = torch.ops.aten.threshold_backward(grads[0] @ weights[0], behind, 0)
    torch.testing.assert_close(linear.backward_input(grads, weights, behind), wanted, rtol=1e-5, atol=1e-5)
    assert found[7].isnan().all() and wanted[7, 3] != 0


def test_for_every_processor_that_this_one_can_be(monkeypatch):
    levels = ["", "_v3", "_v4"] if level() else [""]
    for other in levels[: levels.index(level()) + 1]:
        monkeypatch.setattr(linear, "level", lambda other=other: other)
        monkeypatch.setattr("graphattn.kernels.native.library.level", lambda other=other: other)
        for remembered in (linear.sizes_of_loops, threads.loop):
            remembered.cache_clear()
        for sizes in SIZES:
            given = problem(*sizes)
            check(all_by_loops(*given), in_float64(*given))
    monkeypatch.undo()
    for remembered in (linear.sizes_of_loops, threads.loop):
        remembered.cache_clear()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_that_lie_in_memory_otherwise(layout):
    x, weights, biases, grads = problem(33, 20, (12, 40))
    lay = LAYOUTS[layout]
    given = lay(x), [lay(weight) for weight in weights], [lay(biases[0]), None], [lay(grad) for grad in grads]
    check(all_by_loops(*given), in_float64(*given))


@pytest.mark.parametrize("piece", [1, 2**18])
def test_any_number_of_threads_gives_the_same_bits(piece, monkeypatch):
    monkeypatch.setattr(threads, "PIECE", piece)
    given, before = problem(333, 70, (64, 90)), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            found.append(all_by_loops(*given))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(own is None or torch.equal(own, right) for own, right in zip(other, found[0]))


def test_numbers_that_are_not_finite_stay_in_their_rows():
    x, weights, biases, grads = problem(40, 20, (12,))
    wanted = linear.forward(x, weights, biases)[0]
    x[7, 3] = torch.nan
    found = linear.forward(x, weights, biases)[0]
    assert found[7].isnan().all()
    others = torch.arange(40) != 7
    assert torch.equal(found[others], wanted[others])
    grads[0][5, 2] = torch.inf
    (of_weight, of_bias) = linear.backward_weight(grads, x.nan_to_num(), [True])[0]
    assert of_bias.isinf().tolist() == [channel == 2 for channel in range(12)]
    assert of_weight.isfinite().all(1).tolist() == [channel != 2 for channel in range(12)]


def test_what_loops_would_read_wrongly_is_refused():
    x, weights, _, _ = problem(40, 20, (12,))
    with pytest.raises(ValueError, match="a loop takes `x` as 760 numbers"):
        linear.forward(x, [weights[0][:, :19]], [None])
    assert border.readable(x, torch.float32) is x


def test_tensors_live_as_long_as_what_a_thread_is_given(monkeypatch):
    """Ctrl-C may take the caller away while threads of the pool are at work."""
    given = []
    monkeypatch.setattr(linear, "run", lambda name, work, bounds: given.append(work))
    x, weights, _, _ = problem(40, 20, (12, 8))
    linear.forward(
        x, [weight.t().contiguous().t() for weight in weights], [None, None]
    )  # copies, which nobody else has
    addresses = [given[0][i].weight for i in range(2)]
    kept = {
        tensor.data_ptr()
        for struct in given[0].kept
        for tensors in struct.kept
        for tensor in tensors.values()
        if tensor is not None
    }
    assert set(addresses) <= kept


def test_it_is_faster_where_the_library_says_so():
    assert linear.is_faster() == bool(library().linear_is_faster())
    assert not linear.is_faster() or level() == "_v4"


def test_long_sums_lose_no_more_digits_than_short_ones():
    x, weight = torch.full((64, 20_000), 0.1), torch.ones(8, 20_000)
    torch.testing.assert_close(
        linear.forward(x, [weight], [torch.ones(8)])[0], torch.full((64, 8), 2001.0), rtol=1e-5, atol=0
    )
    of_x = linear.backward_input([torch.full((64, 20_000), 0.1)], [torch.ones(20_000, 8)])
    torch.testing.assert_close(of_x, torch.full((64, 8), 2000.0), rtol=1e-5, atol=0)
