"""Loops that run again: on which tensors they may, what they give, and what is never written down."""

import os

import pytest
import torch

from graphattn.kernels.native import linear, replay, threads
from graphattn.kernels.native.arrays import LARGE_PAGES, empty, zeros
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.native.replay import Replay
from graphattn.kernels.native.tape import Tape
from graphattn.testing.layouts import LAYOUTS

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")


def given_of(seed, rows=9, inputs=5, outputs=8):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((rows, inputs), (outputs, inputs), (outputs,))]


def mapped_twice(x, weight, bias):
    """A result, and one that is kept."""
    return *linear.forward(x, [weight], [bias], relu=True), *linear.forward(x, [weight], [None])


def written_down(given, function=mapped_twice):
    with Tape() as tape:
        result, kept = function(*given)
    return Replay.of(tape, given, [result], [kept])


@pytest.mark.parametrize("rows", [9, 700])
@pytest.mark.parametrize("in_pool", [False, True], ids=["OpenMP", "pool"])
def test_the_same_of_other_tensors(rows, in_pool, monkeypatch):
    if in_pool:
        monkeypatch.setattr(threads, "openmp", lambda: None)
    monkeypatch.setattr(linear, "pieces_for", lambda work: 3)
    again = written_down(given_of(0, rows))
    for seed in (1, 2):
        given = given_of(seed, rows)
        (result,), room = again.run(again.ready(given))
        (kept,) = again.views(room)
        for found, wanted in zip((result, kept), mapped_twice(*given)):
            assert torch.equal(found, wanted) and found.shape == wanted.shape


def test_results_lie_apart_and_the_rest_together():
    again = written_down(given_of(0))
    assert [result.form.shape for result in again.results] == [(9, 8)] and again.size == 9 * 8 * 4
    addresses = again.ready(given_of(1))
    (first,), one = again.run(addresses)
    (second,), other = again.run(addresses)
    assert first.untyped_storage().nbytes() == first.nbytes  # nobody else's numbers in what is saved
    assert len({x.data_ptr() for x in (first, second, one, other)}) == 4


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", range(3), ids=["x", "weight", "bias"])
def test_addresses_are_of_numbers_side_by_side(layout, which):
    again, given = written_down(given_of(0)), given_of(1)
    given[which] = LAYOUTS[layout](given[which])
    x = given[which]
    lies_well = x.is_contiguous() and not x.is_neg() and not x.data_ptr() % 4
    assert (again.ready(given) is not None) == lies_well


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: x[:-1],
        lambda x: x[None],
        lambda x: x.to("meta"),
        lambda x: x.to_sparse(),
        lambda x: x.as_subclass(type("Own", (torch.Tensor,), {})),
        lambda x: torch._neg_view(x),
        lambda x: None,
        lambda x: torch.cat([x, x])[len(x) :].view(torch.uint8).roll(1)[1:],
    ],
    ids=["dtype", "rows", "dimensions", "device", "layout", "class", "signs", "missing", "bytes"],
)
def test_other_tensors_are_refused(change):
    again, (x, weight, bias) = written_down(given_of(0)), given_of(1)
    assert again.ready([x, weight, change(bias)]) is None


def test_what_is_not_there_stays_so():
    x, weight, bias = given_of(0)
    with Tape() as tape:
        (result,) = linear.forward(x, [weight], [None])
    again = Replay.of(tape, [x, weight, None], [result])
    assert again.ready([x, weight, None]) is not None and again.ready([x, weight, bias]) is None


def with_a_copy(x, weight, bias):
    return mapped_twice(x, weight.clone(), bias)


def with_torch_between(x, weight, bias):
    result, kept = mapped_twice(x, weight, bias)
    return result + 1, kept


def without_loops(x, weight, bias):
    return empty((2,), torch.float32), empty((2,), torch.float32)


def with_one_result_twice(x, weight, bias):
    result, _ = mapped_twice(x, weight, bias)
    return result, result


def with_part_of_what_is_kept(x, weight, bias):
    result, kept = mapped_twice(x, weight, bias)
    return result, kept[1:]


@pytest.mark.parametrize(
    "function",
    [with_a_copy, with_torch_between, without_loops, with_one_result_twice, with_part_of_what_is_kept],
    ids=lambda function: function.__name__,
)
def test_what_is_more_than_loops_is_not_written_down(function):
    assert written_down(given_of(0), function) is None


def test_tensors_that_share_memory_may_be_two_the_next_time():
    x, weight, _ = given_of(0)
    assert written_down([x, weight, weight.flatten()[:8]]) is None
    again = written_down(given_of(0))
    given = [x, weight, weight.flatten()[:8]]  # which is no harm: they are only read
    assert torch.equal(again.run(again.ready(given))[0][0], mapped_twice(*given)[0])


@pytest.mark.parametrize("is_large", [False, True])
def test_zeros_are_zeros_again_and_parts_of_results_are_seen(is_large, monkeypatch):
    if is_large:
        monkeypatch.setattr("graphattn.kernels.native.arrays.LARGE_PAGES", 64)
        monkeypatch.setattr(replay, "LARGE_PAGES", 64)
    x, weight, bias = given_of(0)
    with Tape() as tape:
        (result,), spare, seen = (
            linear.forward(x, [weight], [bias]),
            zeros((3, 40), torch.float32),
            zeros((2, 4, 5), torch.float32),
        )
    turned = seen[1].T
    again = Replay.of(tape, [x, weight, bias], [result, turned], [spare])
    for _ in range(3):
        (_, part), room = again.run(again.ready([x, weight, bias]))
        (kept,) = again.views(room)
        assert part.shape == turned.shape and part.stride() == turned.stride()
        assert not kept.any() and not part.any()
        kept.fill_(1.0), part.fill_(1.0)


def test_many_small_arrays_are_no_large_one(monkeypatch):
    made = []
    monkeypatch.setattr(replay, "empty", lambda *given: (made.append(given), empty(*given))[1])
    rows = LARGE_PAGES // 32 - 8
    again = written_down(given_of(0, rows))
    again.run(again.ready(given_of(1, rows)))
    assert not made
    rows = LARGE_PAGES // 32
    again = written_down(given_of(0, rows))
    again.run(again.ready(given_of(1, rows)))
    assert len(made) == 2


def test_a_tape_is_of_its_thread_and_ends_with_its_block():
    with pytest.raises(ZeroDivisionError), Tape() as tape:
        raise ZeroDivisionError
    linear.forward(*[[y] if i else y for i, y in enumerate(given_of(0))])
    with Tape() as tape:
        threads.run_in_pool(lambda: linear.forward(*[[y] if i else y for i, y in enumerate(given_of(0))]) and None, 2)
    assert len(tape.ran) <= 1 and len(tape.made) <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_forked_process():
    again, given = written_down(given_of(0, 700)), given_of(1, 700)
    wanted = mapped_twice(*given)[0]
    process = os.fork()
    if not process:
        os._exit(not torch.equal(again.run(again.ready(given))[0][0], wanted))
    assert os.waitpid(process, 0)[1] == 0
