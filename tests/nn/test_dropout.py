"""Dropout in the place of torch's: what is dropped, gradients, and where torch's own runs."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from graphattn import accelerate, restore
from graphattn.kernels.native import drop as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import Dropout, dropout
from graphattn.nn.dropout import drop
from graphattn.testing.layouts import LAYOUTS

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Seeds of the loops that run, which do for few numbers too."""
    found, forward = [], loops.forward
    monkeypatch.setattr(dropout, "FEWEST", 1)
    monkeypatch.setattr(loops, "forward", lambda x, p, seed: (found.append(seed), forward(x, p, seed))[1])
    torch.manual_seed(0)
    return found


def table(*shape):
    return torch.randn(*(shape or (30, 20)), generator=torch.Generator().manual_seed(1))


def mask_of(x, y):
    return torch.where(y == 0, 0.0, y / x)


def test_a_seed_of_torch_repeats_it_and_each_call_is_another(calls):
    module, x = Dropout(0.4), table()
    torch.manual_seed(3)
    first, second = module(x), module(x)
    torch.manual_seed(3)
    assert torch.equal(module(x), first) and not torch.equal(first, second)
    assert len(calls) == 3
    assert torch.equal(first, x * loops.factors(x, 0.4, calls[0]))


def test_nothing_is_dropped_outside_of_training(calls):
    x = table()
    assert Dropout(0.4).eval()(x) is x and Dropout(0.0)(x) is x
    assert not Dropout(1.0)(x).any() and not calls


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", ["x", "cotangent"])
def test_gradients_are_dropped_as_numbers_are(which, layout, calls):
    x, cotangent = table(), table()
    if which == "x":
        x = LAYOUTS[layout](x)
    else:
        cotangent = LAYOUTS[layout](cotangent)
    x = x.detach().requires_grad_()
    y = drop(x, 0.4)
    (grad,) = torch.autograd.grad(y, x, cotangent)
    if not x.is_contiguous() or x.is_neg():  # torch's, which keeps strides
        assert not calls and y.stride() == F.dropout(x, 0.4).stride()
        torch.testing.assert_close(grad, cotangent * mask_of(x, y).detach())
        return
    factors = loops.factors(x, 0.4, calls[0])
    assert torch.equal(y, x * factors)
    assert torch.equal(grad, cotangent * factors) and calls == calls[:1] * 2


@pytest.mark.parametrize("reduce", [torch.sum, torch.mean], ids=["sum", "mean"])
def test_gradients_of_reductions(reduce, calls):
    x = table().requires_grad_()
    reduce(drop(x, 0.4)).backward()
    scale = 1 if reduce is torch.sum else 1 / x.numel()
    torch.testing.assert_close(x.grad, scale * loops.factors(x, 0.4, calls[0]))


def test_gradients_are_differentiated_again(calls):
    x = table().requires_grad_()
    y = drop(x, 0.4).pow(3)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    factors = loops.factors(x.detach(), 0.4, calls[0])
    torch.testing.assert_close(second, 6 * x.detach() * factors**3)


def test_many_cotangents_at_once(calls):
    x = table(5, 4).requires_grad_()
    y = drop(x, 0.4)
    grads = torch.eye(20).view(20, 5, 4)
    (found,) = torch.autograd.grad(y, x, grads, is_grads_batched=True)
    assert torch.equal(found, grads * loops.factors(x.detach(), 0.4, calls[0]))


def test_a_seed_is_all_that_is_kept_for_the_backward_pass():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        drop(table().requires_grad_(), 0.4).sum().backward()
    assert [x.numel() for x in kept] == [1]


def test_inside_a_checkpoint():
    x, module = table().requires_grad_(), Dropout(0.4)
    y = checkpoint(module, x, use_reentrant=False)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, mask_of(x.detach(), y.detach()))


def test_what_a_checkpoint_draws_again_is_what_gradients_are_of():
    x = torch.ones(100, 50, requires_grad=True)
    y = checkpoint(lambda x: drop(x, 0.5).square(), x, use_reentrant=False, preserve_rng_state=False)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert set(grad.unique().tolist()) == {0.0, 8.0}  # 2 y times 1 / (1 - p), of the same mask


def in_autocast(x):
    with torch.autocast("cpu", torch.bfloat16):
        return drop(x, 0.4)


OTHERS = {
    "double": lambda x: drop(x.double(), 0.4),
    "bfloat16": lambda x: drop(x.bfloat16(), 0.4),
    "meta": lambda x: drop(x.to("meta"), 0.4),
    "class": lambda x: drop(x.as_subclass(type("Own", (torch.Tensor,), {})), 0.4),
    "in place": lambda x: Dropout(0.4, inplace=True)(x.clone()),
    "autocast": in_autocast,
    "vmap": lambda x: torch.vmap(lambda row: drop(row, 0.4), randomness="different")(x),
    "few": lambda x: drop(x[:0], 0.4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_torchs(name, calls):
    y = OTHERS[name](table())
    assert not calls and isinstance(y, torch.Tensor)


def test_few_numbers_are_torchs(calls, monkeypatch):
    monkeypatch.undo()
    torch.manual_seed(3)
    found = drop(table(3, 3), 0.4)
    torch.manual_seed(3)
    assert torch.equal(found, F.dropout(table(3, 3), 0.4))


def test_compiled_and_exported():
    module, x = Dropout(0.4), table()
    y = torch.compile(module, fullgraph=True)(x)
    assert 0.2 < float((y == 0).float().mean()) < 0.6
    assert torch.equal(torch.export.export(module.eval(), (x,)).module()(x), x)


def add_one(module, given, out):
    return out + 1


def test_numbers_that_torch_takes_for_a_probability(calls):
    x = table(100, 50)
    for p in (torch.tensor(0.4), np.float16(0.4), np.float64(0.4)):
        module = Dropout(0.1)
        module.p = p
        assert 0.3 < float((module(x) == 0).float().mean()) < 0.5
    assert len(calls) == 3
    for p in (1 - 1e-10, 1 - 1e-16):  # which the loop would round to 1
        assert not Dropout(p)(x).any()
    assert len(calls) == 3


def test_scripted_and_traced_by_fx():
    model, x = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Dropout(0.4)), table()
    accelerate(model)
    for whole in (torch.jit.script(model), torch.fx.symbolic_trace(model)):
        assert not torch.equal(whole(x), whole(x))
        whole.eval()
        assert torch.equal(whole(x), whole(x))
        whole.train()
    traced = torch.fx.symbolic_trace(model.eval()).train()
    assert not torch.equal(traced(x), traced(x))


def test_models_get_it_and_give_it_back():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.3), torch.nn.Dropout(0.2, inplace=True))
    model[1].register_forward_hook(add_one)
    own = copy.deepcopy(model)
    done = accelerate(model)
    assert done.dropouts == 1 and not done.swapped and not done.left and "and 1 Dropout" in repr(done)
    assert type(model[1]) is Dropout and model[1].p == 0.3 and type(model[2]) is torch.nn.Dropout
    again = pickle.loads(pickle.dumps(model.eval()))
    x = table(6, 4)
    torch.testing.assert_close(again(x), own.eval()(x))
    assert model.state_dict().keys() == own.state_dict().keys() and repr(model) == repr(own)
    assert restore(model) == 0 and type(model[1]) is torch.nn.Dropout
    assert not accelerate(torch.nn.TransformerEncoderLayer(4, 2)).dropouts


def test_subclasses_stay_as_they_are():
    class Own(torch.nn.Dropout):
        pass

    model = torch.nn.Sequential(Own(0.3), torch.nn.AlphaDropout(0.3), torch.nn.Dropout(0.1))
    model[2].forward = lambda x: x
    done = accelerate(model)
    assert not (done.swapped or done.left or done.dropouts)
