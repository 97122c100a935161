import functools

import pytest
import torch
import torch_geometric.nn as pyg
from torch.nn.utils.parametrizations import weight_norm
from torch_geometric.nn.attention import PerformerAttention

from graphattn.nn.plain import check_plain, has_hooks, own_methods, runs_as


class Twice(torch.nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Named(torch.nn.Linear):
    """Nothing that says what the module computes."""

    def __init__(self):
        super().__init__(3, 3)

    def extra_repr(self):
        return "named"


def on_the_object():
    linear = torch.nn.Linear(3, 3)
    linear.forward = lambda x: x
    return linear


@pytest.mark.parametrize("make", [lambda: torch.nn.Linear(3, 3), Named], ids=["torch's", "a name for it"])
def test_plain(make):
    check_plain("linear", make(), torch.nn.Linear)
    assert runs_as(make(), torch.nn.Linear) and own_methods(make(), torch.nn.Linear) == []


@pytest.mark.parametrize("make", [lambda: Twice(3, 3), on_the_object], ids=["subclass", "object"])
def test_methods_of_its_own(make):
    assert own_methods(make(), torch.nn.Linear) == ["forward"] and not runs_as(make(), torch.nn.Linear)
    with pytest.raises(ValueError, match="'linear' has methods of its own.*forward"):
        check_plain("linear", make(), torch.nn.Linear)


def test_methods_put_into_the_class(monkeypatch):
    """functools.wraps copies the names of the function around which it goes."""
    forward = torch.nn.Linear.forward
    monkeypatch.setattr(torch.nn.Linear, "forward", functools.wraps(forward)(lambda self, x: 2 * forward(self, x)))
    linear = torch.nn.Linear(3, 3)
    assert own_methods(linear, torch.nn.Linear) == ["forward"] and not runs_as(linear, torch.nn.Linear)


def test_methods_under_no_grad(monkeypatch):
    linear = torch.nn.Linear(3, 3)
    monkeypatch.setattr(torch.nn.Linear, "forward", torch.no_grad()(torch.nn.Linear.forward))
    assert own_methods(linear, torch.nn.Linear) == ["forward"] and not runs_as(linear, torch.nn.Linear)
    for kind in (pyg.Linear, PerformerAttention):  # PyG decorates methods of these itself
        check_plain("layer", kind(4, 4), kind)


REGISTER = ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]


@pytest.mark.parametrize("name", REGISTER)
def test_hooks(name):
    linear = torch.nn.Linear(3, 3)
    assert not has_hooks(linear)
    handle = getattr(linear, f"register_{name}")(lambda *_: None)
    assert has_hooks(linear)
    with pytest.raises(ValueError, match=rf"'linear' has hooks.*{name.replace('full_', '')}s"):
        check_plain("linear", linear, torch.nn.Linear)
    handle.remove()
    check_plain("linear", linear, torch.nn.Linear)


@pytest.mark.parametrize("name", ["hook", "post_accumulate_grad_hook"])
def test_hooks_on_parameters(name):
    linear = torch.nn.Linear(3, 3)
    handle = getattr(linear.bias, f"register_{name}")(lambda _: None)
    with pytest.raises(ValueError, match="'linear' has hooks on parameters.*got hooks on bias"):
        check_plain("linear", linear, torch.nn.Linear)
    handle.remove()
    check_plain("linear", linear, torch.nn.Linear)


def test_hooks_on_all_modules():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert has_hooks(torch.nn.Linear(3, 3))
    finally:
        handle.remove()


def test_parametrizations_and_other_kinds():
    with pytest.raises(ValueError, match="'linear' has parametrizations.*weight.*remove_parametrizations"):
        check_plain("linear", weight_norm(torch.nn.Linear(3, 3)), torch.nn.Linear)
    with pytest.raises(ValueError, match="'linear' has no weights yet"):
        check_plain("linear", torch.nn.LazyLinear(3), torch.nn.Linear)
    with pytest.raises(TypeError, match="'linear' must be torch's Linear or torch's Identity .got Bilinear."):
        check_plain("linear", torch.nn.Bilinear(3, 3, 3), torch.nn.Linear, torch.nn.Identity)
