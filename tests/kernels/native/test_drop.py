"""Dropout by the loop: each number as the formula of attention's dropout says."""

import pytest
import torch

from graphattn.kernels.native import drop
from graphattn.kernels.native.library import why_not_native
from graphattn.testing.layouts import LAYOUTS
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")


def test_the_struct_has_the_fields_of_that_in_c():
    assert fields_in_c("drop_fields") == declared_fields(drop.Drop)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, drop.BLOCK - 1, drop.BLOCK, drop.BLOCK + 1, 5 * drop.BLOCK + 3])
@pytest.mark.parametrize("dropout", [1e-9, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_as_the_formula_says(count, dropout, seed):
    x = torch.randn(count, generator=torch.Generator().manual_seed(1))
    factors = drop.factors(x, dropout, seed)
    assert torch.equal(drop.forward(x, dropout, seed), x * factors)
    assert set(factors.unique().tolist()) <= {0.0, torch.tensor(1 / (1 - dropout)).item()}


@pytest.mark.parametrize("dropout", [0.05, 0.4, 0.9])
def test_equally_often_and_independently(dropout):
    x = torch.ones(1000, 1000)
    first, second = (drop.forward(x, dropout, seed) == 0 for seed in (1, 2))
    spread = (dropout * (1 - dropout)) ** 0.5  # of one number
    assert abs(first.double().mean() - dropout) < 4 * spread / 1000
    for sums in (first.double().mean(0), first.double().mean(1)):
        assert 0.8 < sums.std() / (spread / 1000**0.5) < 1.2
    pairs = (first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])
    for one, other in pairs:  # of another seed, of the next number, of the next row
        both = (one & other).double().mean()
        assert abs(both - dropout**2) < 5 * dropout / 1000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_in_any_layout(layout):
    x = LAYOUTS[layout](torch.randn(90, 60))
    assert torch.equal(drop.forward(x, 0.3, 5), x * drop.factors(x, 0.3, 5))


def test_any_number_of_threads_drops_the_same():
    x, threads = torch.randn(300_000), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(drop.forward(x, 0.3, 5))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_what_is_not_finite_stays_so():
    x = torch.tensor([torch.nan, torch.inf]).repeat(50)
    factors = drop.factors(x, 0.5, 3)
    torch.testing.assert_close(drop.forward(x, 0.5, 3), x * factors, equal_nan=True)
