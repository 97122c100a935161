import torch

from graphattn.nn import Custom, Dot
from graphattn.running.generators import Generators

CPU = torch.device("cpu")


def test_numbers_are_drawn_again_and_then_go_on():
    torch.manual_seed(0)
    generators = Generators(CPU)
    assert not generators.have_moved()
    first = torch.rand(3)
    assert generators.have_moved()
    with generators.restored():
        again = torch.rand(3)
    next_ = torch.rand(3)
    assert torch.equal(first, again)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(6)[3:], next_)


def test_only_scores_of_the_callers_own_may_draw():
    assert Generators.of(Dot(), CPU) is None
    assert Generators.of(Custom(lambda query, key: (query * key).sum(-1)), CPU) is not None
