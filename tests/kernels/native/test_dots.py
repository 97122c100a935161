"""Dot products of nodes with two vectors of a head, beside plain sums in float64."""

import pytest
import torch

from graphattn.kernels.native import dots, threads
from graphattn.kernels.native.library import why_not_native
from graphattn.testing.layouts import LAYOUTS
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

SIZES = [(0, 2, 3), (1, 1, 1), (9, 3, 7), (50, 2, 8), (33, 4, 16), (5000, 3, 21)]


def problem(rows, heads, dim):
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, heads, dim), (heads, dim), (heads, dim), (rows, heads, 1), (rows, heads, 1), (rows, heads, dim)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def by_loops(x, source, target, of_source, of_target, grad_x):
    grad_x = grad_x.clone(memory_format=torch.contiguous_format)
    found = dots.forward(x, source, target)
    return *found, *dots.backward(x, source, target, of_source, of_target, grad_x), grad_x


def in_float64(*given):
    x, source, target, of_source, of_target, grad_x = (tensor.double() for tensor in given)
    found = [(x * vector).sum(-1, keepdim=True) for vector in (source, target)]
    vectors = [(of * x).sum(0) for of in (of_source, of_target)]
    return *found, *vectors, grad_x + of_source * source + of_target * target


def check(found, wanted):
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own.double(), right, rtol=1e-5, atol=2e-4)


def test_the_struct_has_the_fields_of_that_in_c():
    assert fields_in_c("dots_fields") == declared_fields(dots.Dots)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_as_sums_in_float64(sizes):
    check(by_loops(*problem(*sizes)), in_float64(*problem(*sizes)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_in_any_layout(layout):
    *given, grad_x = problem(33, 4, 16)
    given = [LAYOUTS[layout](tensor) for tensor in given]
    check(by_loops(*given, grad_x), in_float64(*given, grad_x))


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(dots, "PIECE", 64)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(by_loops(*problem(333, 4, 16)))
    finally:
        torch.set_num_threads(before)
    assert threads.count_pieces(333 * 64, 64) > 1
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(other, found[0], strict=True))
