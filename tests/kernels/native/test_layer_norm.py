"""Layer norms of examples by loops, beside torch's of one example after the other in float64."""

import pytest
import torch
import torch.nn.functional as F

from graphattn import CompleteGraph
from graphattn.kernels.native import layer_norm
from graphattn.kernels.native.library import why_not_native
from graphattn.testing.layouts import LAYOUTS
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

SIZES = [([5], 8), ([1, 3, 2], 1), ([4, 0, 0, 7], 13), ([0, 2], 16), ([30] * 40, 33), ([3000, 1], 24)]


def problem(sizes, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (sum(sizes), channels), (channels,), (channels,), (sum(sizes), channels)
    x, weight, bias, grad = (torch.randn(shape, generator=generator) for shape in shapes)
    return 2 * x + 3, weight, bias, grad


def by_loops(sizes, x, weight, bias, grad, eps=1e-5, needed=(True, True, True), other=None, added=None):
    examples = layer_norm.examples_of(CompleteGraph(sizes))
    y, total, mean, scale = layer_norm.forward(x, other, added, weight, bias, eps, examples, keeps_sum=True)
    read = x if total is None else total
    return [y, *layer_norm.backward(grad, read, weight, mean, scale, examples, needed)]


def in_float64(sizes, x, weight, bias, grad, eps=1e-5):
    leaves = [None if tensor is None else tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    normed = [F.layer_norm(part, part.shape, eps=eps) if len(part) else part for part in leaves[0].split(sizes)]
    y = torch.cat(normed)
    y = y if weight is None else y * leaves[1] + leaves[2]
    wanted = [leaf for leaf in leaves if leaf is not None]
    return [y.detach(), *torch.autograd.grad(y, wanted, grad.double())]


def check(found, wanted):
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right, rtol=2e-5, atol=2e-6 * max(len(found[0]), 5))


def test_the_struct_has_the_fields_of_that_in_c():
    assert fields_in_c("layer_norm_fields") == declared_fields(layer_norm.LayerNorm)


@pytest.mark.parametrize("sizes, channels", SIZES, ids=lambda x: str(x)[:20])
def test_as_torchs_norm_of_each_example(sizes, channels):
    x, weight, bias, grad = problem(sizes, channels)
    check(by_loops(sizes, x, weight, bias, grad), in_float64(sizes, x, weight, bias, grad))
    found = by_loops(sizes, x, None, None, grad, needed=(True, False, False))
    assert found[2:] == [None, None]
    check(found[:2], in_float64(sizes, x, None, None, grad))


@pytest.mark.parametrize("sizes, channels", SIZES, ids=lambda x: str(x)[:20])
def test_the_norm_of_a_sum_and_a_sum_with_it(sizes, channels):
    x, weight, bias, grad = problem(sizes, channels)
    other, added = torch.randn_like(x) - 1, torch.randn_like(x)
    wanted = in_float64(sizes, x + other, weight, bias, grad)
    check(by_loops(sizes, x, weight, bias, grad, other=other), wanted)
    wanted[0] += added
    check(by_loops(sizes, x, weight, bias, grad, other=other, added=added), wanted)
    examples = layer_norm.examples_of(CompleteGraph(sizes))
    for keeps_sum in (True, False):
        y, total, *_ = layer_norm.forward(x, other, added, weight, bias, 1e-5, examples, keeps_sum)
        check([y], wanted[:1])
        assert torch.equal(total, x + other) if keeps_sum else total is None
    assert layer_norm.forward(x, None, added, weight, bias, 1e-5, examples, keeps_sum=True)[1] is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_summands_that_lie_in_memory_otherwise(layout):
    sizes, lay = [4, 6], LAYOUTS[layout]
    given = problem(sizes, 12)
    other, added = lay(torch.randn(10, 12)), lay(torch.randn(10, 12))
    wanted = in_float64(sizes, given[0] + other, *given[1:])
    wanted[0] += added
    check(by_loops(sizes, *given, other=other, added=added), wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_that_lie_in_memory_otherwise(layout):
    sizes, lay = [4, 6], LAYOUTS[layout]
    given = [lay(tensor) for tensor in problem(sizes, 12)]
    if layout != "one_number":  # whose variance is 0
        check(by_loops(sizes, *given), in_float64(sizes, *given))


def test_only_what_is_needed():
    given = problem([3, 4], 5)
    for needed in ((True, False, True), (False, True, False), (False, False, True)):
        found, all_ = by_loops([3, 4], *given, needed=needed)[1:], by_loops([3, 4], *given)[1:]
        for own, right, is_needed in zip(found, all_, needed):
            assert torch.equal(own, right) if is_needed else own is None


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(layer_norm, "PIECE", 64)
    sizes, before = [7, 1, 0, 30, 12] * 9, torch.get_num_threads()
    given, found = problem(sizes, 20), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(by_loops(sizes, *given))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))
    check(found[0], in_float64(sizes, *given))


def test_pieces_have_about_as_many_nodes():
    examples = layer_norm.examples_of(CompleteGraph([100, 1, 1, 1, 97]))
    assert examples.cut(2).tolist() == [0, 1, 5]
    assert examples.cut(4).tolist() == [0, 1, 5]
    assert examples.cut(1).tolist() == [0, 5]


def test_means_far_from_zero_and_numbers_that_are_not_finite():
    sizes = [6, 5]
    x, weight, bias, grad = problem(sizes, 8)
    far = x + 1e4
    y = by_loops(sizes, far, weight, bias, grad)[0]
    torch.testing.assert_close(y.double(), in_float64(sizes, far, weight, bias, grad)[0], rtol=1e-3, atol=3e-3)
    wanted = by_loops(sizes, x, weight, bias, grad)[0]
    x[2, 3] = torch.nan
    found = by_loops(sizes, x, weight, bias, grad)[0]
    assert found[:6].isnan().all() and torch.equal(found[6:], wanted[6:])
