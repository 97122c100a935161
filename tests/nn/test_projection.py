"""Maps by one product are the maps one by one."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from graphattn.nn import projection
from graphattn.nn.projection import project_together

HEADS = 3, 1, 2


def maps_of(bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    return [nn.Linear(6, width, bias=bias, dtype=dtype) for width in (12, 4, 8)]


def one_by_one(x, maps):
    return tuple(own(x).unflatten(1, (n, -1)) for own, n in zip(maps, HEADS))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("used", [(0, 1, 2), (0,), (0, 2)], ids=str)
@pytest.mark.parametrize("is_frozen", [False, True])
def test_equal_in_results_and_derivatives(bias, used, is_frozen):
    maps, x = maps_of(bias), torch.randn(9, 6, dtype=torch.float64, requires_grad=not is_frozen)
    maps[1].requires_grad_(not is_frozen)
    leaves = [p for p in [x, *(p for own in maps for p in own.parameters())] if p.requires_grad]
    results = []
    for project in (lambda: project_together(x, maps, HEADS), lambda: one_by_one(x, maps)):
        torch.manual_seed(1)
        out = project()
        chosen = [out[i] for i in used if i != 1 or not is_frozen]
        cotangents = [torch.randn_like(y).requires_grad_() for y in chosen]
        first = torch.autograd.grad(chosen, leaves, cotangents, create_graph=True, materialize_grads=True)
        second = torch.autograd.grad(
            sum(y.square().sum() for y in first), [*leaves, *cotangents], materialize_grads=True, allow_unused=True
        )
        results.append([*out, *first, *second])
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", ["sum", "expanded", "columns of one table"])
def test_gradients_may_lie_in_any_way(layout):
    maps, x = maps_of(), torch.randn(9, 6, dtype=torch.float64, requires_grad=True)

    def total(out):
        if layout == "sum":
            return sum(y.sum() for y in out)
        if layout == "expanded":
            return sum(y.mean(0, keepdim=True).expand(9, -1, -1).square().sum() for y in out)
        return (torch.cat([y.flatten(1) for y in out], 1) * torch.arange(24)).sum()

    leaves = [x, *(p for own in maps for p in own.parameters())]
    found = torch.autograd.grad(total(project_together(x, maps, HEADS)), leaves)
    for a, b in zip(found, torch.autograd.grad(total(one_by_one(x, maps)), leaves)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def hooked(maps):
    maps[1].register_forward_hook(lambda *_: None)


def changed(maps):
    maps[1].forward = lambda x: x


def normed(maps):
    parametrizations.weight_norm(maps[1])


def one_twice(maps):
    maps[1] = maps[0]


def half_with_offsets(maps):
    maps[1].bias = None


def another_class(maps):
    maps[1] = type("Own", (nn.Linear,), {})(6, 4, dtype=torch.float64)


@pytest.mark.parametrize("change", [hooked, changed, normed, one_twice, half_with_offsets, another_class])
def test_maps_that_are_no_mere_products_are_left_alone(change):
    maps = maps_of()
    assert project_together(torch.randn(9, 6, dtype=torch.float64), maps, HEADS) is not None
    change(maps)
    assert project_together(torch.randn(9, 6, dtype=torch.float64), maps, HEADS) is None


def test_nodes_that_are_no_plain_matrix_are_left_alone():
    maps, x = maps_of(), torch.randn(9, 6, dtype=torch.float64)
    assert project_together(x.to_sparse(), maps, HEADS) is None
    assert project_together(x.float(), maps, HEADS) is None
    assert project_together(x.as_subclass(type("Own", (torch.Tensor,), {})), maps, HEADS) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert project_together(x, maps, HEADS) is None
    with torch.autograd.forward_ad.dual_level():
        assert project_together(x, maps, HEADS) is None


def test_large_weights_of_few_nodes_are_left_alone(monkeypatch):
    monkeypatch.setattr(projection, "FEW_WEIGHTS", 100)
    assert project_together(torch.randn(2, 6, dtype=torch.float64), maps_of(), HEADS) is None
    assert project_together(torch.randn(3, 6, dtype=torch.float64), maps_of(), HEADS) is not None


def test_hooks_of_parameters_and_written_gradients_work():
    maps, x = maps_of(), torch.randn(9, 6, dtype=torch.float64)
    seen = []
    maps[0].weight.register_hook(lambda grad: seen.append(grad.shape))
    for _ in range(2):
        sum(y.square().sum() for y in project_together(x, maps, HEADS)).backward()
    assert seen == [(12, 6)] * 2
    before = maps[1].weight.grad.clone()
    maps[0].weight.grad.zero_()  # gradients of other maps may lie beside it
    assert torch.equal(maps[1].weight.grad, before)
