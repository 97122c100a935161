"""Linear maps of a layer by loops: the numbers of torch's, and torch's own where somebody looks at them."""

import pytest
import torch
import torch.nn.functional as F
import torch_geometric
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from graphattn.kernels.native import arrays
from graphattn.kernels.native import linear as loops
from graphattn.kernels.native.library import why_not_native
from graphattn.nn import (
    Dropout,
    FeedForward,
    GATConv,
    GATv2Conv,
    GPSConv,
    GraphAttention,
    LinearAttention,
    TransformerConv,
    linear_maps,
)
from graphattn.nn.linear_maps import add_to, apply_linear, linear, linear_in_parts
from graphattn.nn.sequential import in_turn
from graphattn.testing.layouts import LAYOUTS
from tests.nn.loops_that_run import names_of_loops

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")

ROWS, INPUTS = 40, 12


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Names of the loops that run, which do on any processor and however small a table is."""
    monkeypatch.setattr(loops, "is_faster", lambda: True)
    monkeypatch.setattr(linear_maps, "LEAST", 1)
    monkeypatch.setattr(linear_maps, "FEWEST", loops.FEWEST)
    return names_of_loops(monkeypatch, loops)


def maps_of(*outputs, kind=nn.Linear, bias=True):
    torch.manual_seed(0)
    return [kind(INPUTS, size, bias=bias) for size in outputs]


def table(rows=ROWS, seed=1):
    return torch.randn(rows, INPUTS, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def step(call, x, modules, cotangents=None):
    results = call(x)
    torch.manual_seed(2)
    cotangents = (
        [torch.randn_like(y) for y in results] if cotangents is None else [c(y) for c, y in zip(cotangents, results)]
    )
    wanted = [x, *(p for module in modules for p in module.parameters())]
    wanted = [tensor for tensor in wanted if tensor.requires_grad]
    return *results, *torch.autograd.grad(results, wanted, cotangents, allow_unused=True)


def check(x, modules, cotangents=None, allowed=1e-5):
    found = step(lambda x: apply_linear(x, *modules), x, modules, cotangents)
    wanted = step(lambda x: tuple(module(x) for module in modules), x, modules, cotangents)
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=allowed, atol=allowed)


@pytest.mark.parametrize("kind", [nn.Linear, torch_geometric.nn.Linear])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [(8,), (16, 40), (64, 8, 9, 64)], ids=str)
def test_the_numbers_of_the_modules(kind, bias, outputs, calls):
    check(table(), maps_of(*outputs, kind=kind, bias=bias))
    assert calls == ["linear_forward_f32", "linear_backward_input_f32", "linear_backward_weight_f32"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cotangents_and_inputs_in_any_layout(layout):
    lay = LAYOUTS[layout]
    check(lay(table().detach()).detach().requires_grad_(), maps_of(16, 24))
    check(table(), maps_of(16, 24), [lambda y: lay(torch.randn_like(y))] * 2)
    check(table(), maps_of(16, 24), [lambda y: torch.ones(()).expand(y.shape)] * 2)


def test_only_what_is_needed_is_computed(calls):
    first, second = maps_of(16, 24)
    x = table().detach()
    first.requires_grad_(False)

    def differentiate(*tensors):
        calls.clear()
        loss, right_loss = (
            sum(y.square().sum() for y in results)
            for results in (apply_linear(x, first, second), (first(x), second(x)))
        )
        found, wanted = torch.autograd.grad(loss, tensors), torch.autograd.grad(right_loss, tensors)
        for own, right in zip(found, wanted, strict=True):
            torch.testing.assert_close(own, right)
        return [name.removeprefix("linear_").removesuffix("_f32") for name in calls]

    assert differentiate(second.weight) == ["forward", "backward_weight"]
    second.weight.requires_grad_(False)
    assert differentiate(second.bias) == ["forward"]
    x.requires_grad_()
    assert differentiate(x, second.bias) == ["forward", "backward_input"]
    second.bias.requires_grad_(False)
    assert differentiate(x) == ["forward", "backward_input"]


def test_results_that_nobody_uses_cost_nothing_and_have_no_gradient():
    modules, x = maps_of(16, 24), table()
    used, _ = apply_linear(x, *modules)
    used.square().sum().backward()
    assert modules[1].weight.grad is None and modules[1].bias.grad is None
    found, x.grad = x.grad, None
    modules[0](x).square().sum().backward()
    torch.testing.assert_close(found, x.grad)


def test_one_map_twice_and_one_table_twice():
    (module,) = maps_of(16)
    check(table(), [module, module])


def test_gradients_are_differentiated_again():
    modules, x = maps_of(8, 9), table(8)

    def penalty(results):
        (grad,) = torch.autograd.grad(sum(y.pow(3).sum() for y in results), x, create_graph=True)
        wanted = [x, *(p for module in modules for p in module.parameters())]
        return torch.autograd.grad(grad.square().sum(), wanted)

    found = penalty(apply_linear(x, *modules))
    wanted = penalty([module(x) for module in modules])
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-4)


def test_transforms_see_torchs_operations(calls):
    module, x = maps_of(16)[0], table().detach()
    weight = module.weight.detach()

    def of_weight(weight):
        return linear(x, weight).square().sum()

    wanted = torch.func.grad(lambda weight: F.linear(x, weight).square().sum())(weight)
    torch.testing.assert_close(torch.func.grad(of_weight)(weight), wanted)
    _, tangent = torch.func.jvp(lambda x: apply_linear(x, module)[0], (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, F.linear(torch.ones_like(x), module.weight))
    many = torch.stack([x, 2 * x])
    torch.testing.assert_close(torch.vmap(lambda x: linear(x, weight))(many), F.linear(many, weight))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(linear(dual, weight)).tangent is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    assert not calls
    y = linear(x.requires_grad_(), weight)
    cotangents = torch.randn(3, *y.shape)
    (found,) = torch.autograd.grad(y, x, cotangents, is_grads_batched=True)
    torch.testing.assert_close(found, cotangents @ weight)


def test_modes_see_torchs_operations(calls):
    x, (module,) = table(), maps_of(16)
    with FlopCounterMode(display=False) as counter:
        apply_linear(x, module)
    assert counter.get_total_flops() == 2 * ROWS * INPUTS * 16
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Watch():
        apply_linear(x, module)
    assert F.linear in seen or torch._C._nn.linear in seen
    assert not calls


def test_compiled_and_exported_maps():
    module, x = maps_of(16)[0], table().detach()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = module

        def forward(self, x):
            return apply_linear(x, self.map)[0]

    wanted = module(x)
    torch.testing.assert_close(torch.compile(Model(), backend="eager", fullgraph=True)(x), wanted)
    torch.testing.assert_close(torch.export.export(Model(), (x,)).module()(x), wanted)


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.register_forward_hook(lambda *_: None),
        lambda module: module.register_full_backward_hook(lambda *_: None),
        parametrizations.weight_norm,
        lambda module: setattr(module, "forward", lambda x: F.linear(x, module.weight, module.bias)),
    ],
)
def test_modules_that_are_more_than_a_product_are_called(change, calls):
    first, second = maps_of(16, 24)
    change(first)
    check(table(), [first, second], allowed=0)
    assert not calls


@pytest.mark.parametrize(
    "x, weight",
    [
        (torch.ones(40, 12, dtype=torch.float64), torch.ones(16, 12, dtype=torch.float64)),
        (torch.ones(40, 12, dtype=torch.bfloat16), torch.ones(16, 12, dtype=torch.bfloat16)),
        (torch.ones(2, 40, 12), torch.ones(16, 12)),
        (torch.ones(12), torch.ones(16, 12)),
        (torch.ones(7, 12), torch.ones(16, 12)),
        (torch.ones(0, 12), torch.ones(16, 12)),
        (torch.ones(40, 0), torch.ones(16, 0)),
        (torch.ones(40, 12).to_sparse_csr(), torch.ones(16, 12)),
        (torch.ones(40, 12, device="meta"), torch.ones(16, 12, device="meta")),
    ],
    ids=lambda x: f"{x.dtype} {list(x.shape)} {x.layout} {x.device}",
)
def test_other_tables_are_torchs(x, weight, calls):
    y = linear(x, weight)
    assert not calls and y.shape == (*x.shape[:-1], len(weight))


def test_errors_are_torchs():
    for x, weight in ((torch.ones(40, 11), torch.ones(16, 12)), (torch.ones(40, 12), torch.ones(16, 12).double())):
        with pytest.raises(RuntimeError) as wanted:
            F.linear(x, weight)
        with pytest.raises(RuntimeError) as found:
            linear(x, weight)
        assert str(found.value) == str(wanted.value)
    with pytest.raises(RuntimeError):
        linear(torch.ones(40, 12), torch.ones(16, 12), torch.ones(15))


def test_a_table_that_is_written_before_the_backward_pass_is_noticed():
    (module,) = maps_of(16)
    x = table().detach()
    (y,) = apply_linear(x, module)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_sums_take_the_memory_of_a_result_that_nobody_else_has():
    (module,), x, other = maps_of(16), table(), torch.randn(ROWS, 16).requires_grad_()

    def step_by(add):
        (y,) = apply_linear(x, module)
        z = add(y, other.sin())
        return [z, *torch.autograd.grad(z.square().sum(), [x, other, *module.parameters()])]

    for own, right in zip(step_by(add_to), step_by(torch.add), strict=True):
        torch.testing.assert_close(own, right)
    with torch.no_grad():
        (y,) = apply_linear(x, module)
        assert add_to(y, other) is y
        assert add_to(y, other.double()).dtype == torch.float64
    # What is captured may not be written under transforms.
    (y,) = apply_linear(x.detach(), module.requires_grad_(False))
    before = y.clone()
    torch.vmap(lambda other: add_to(y, other))(torch.randn(3, ROWS, 16))
    torch.func.grad(lambda other: add_to(y, other).sum())(other.detach())
    assert torch.equal(y, before)


def test_a_sequence_of_modules(calls):
    torch.manual_seed(0)
    modules, x = nn.Sequential(nn.Linear(INPUTS, 16), nn.ReLU(), nn.Linear(16, 8)), table()
    torch.testing.assert_close(in_turn(modules, x), modules(x), rtol=1e-5, atol=1e-5)
    assert calls == ["linear_forward_f32"] * 2
    modules.register_forward_hook(lambda *_: None)
    assert torch.equal(in_turn(modules, x), modules(x))
    assert torch.equal(in_turn(modules[0], x), modules[0](x)) and len(calls) == 2


def perceptron(*more, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, 16, bias=bias), nn.ReLU(), *more, nn.Linear(16, 8, bias=bias))


def modules_in_turn(modules, x):
    return (modules(x),)


PERCEPTRONS = {
    "plain": perceptron,
    "no bias": lambda: perceptron(bias=False),
    "dropout of nothing": lambda: perceptron(nn.Dropout(0.0)).append(nn.Dropout(0.0)),
    "in eval": lambda: perceptron(nn.Dropout(0.5)).eval(),
    "graphattn's dropout": lambda: perceptron(Dropout(0.5)).eval(),
    "in place": lambda: nn.Sequential(nn.Linear(INPUTS, 16), nn.ReLU(inplace=True), nn.Linear(16, 8)),
    "and more": lambda: perceptron(nn.Linear(16, 16), nn.ReLU()).append(nn.ReLU()).append(nn.Tanh()),
}


@pytest.mark.parametrize("name", PERCEPTRONS)
def test_two_maps_with_relu_between_them(name, calls):
    modules, x = PERCEPTRONS[name](), table()
    found = step(lambda x: (in_turn(modules, x),), x, [modules])
    assert "linear_backward_weight_f32" in calls
    for own, right in zip(found, step(lambda x: modules_in_turn(modules, x), x, [modules]), strict=True):
        torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(in_turn(modules, x), modules(x), rtol=1e-5, atol=1e-5)
    assert x.requires_grad and torch.equal(x, table())


@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "2.weight", "2.bias", "0", "2", "", "x"])
def test_two_maps_of_which_some_learn(frozen):
    modules, x = perceptron(), table()
    for key, parameter in modules.named_parameters():
        parameter.requires_grad_(not key.startswith(frozen) if frozen else False)
    x = x.detach() if frozen == "x" else x
    found, wanted = step(lambda x: (in_turn(modules, x),), x, [modules]), step(lambda x: (modules(x),), x, [modules])
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vectorize", [False, True])
def test_second_derivatives_of_two_maps(vectorize):
    modules, x = perceptron(), torch.randn(9, INPUTS)

    def of(call):
        return torch.autograd.functional.hessian(lambda x: call(modules, x).pow(3).sum(), x, vectorize=vectorize)

    torch.testing.assert_close(of(in_turn), of(lambda modules, x: modules(x)), rtol=1e-4, atol=1e-4)

    def penalty(call):
        y = call(modules, given := x.clone().requires_grad_())
        (force,) = torch.autograd.grad(y.tanh().sum(), given, create_graph=True)
        return torch.autograd.grad(force.square().sum(), list(modules.parameters()), allow_unused=True)

    for own, right in zip(penalty(in_turn), penalty(lambda modules, x: modules(x)), strict=True):
        assert (own is None) == (right is None) or float((own if right is None else right).abs().max()) == 0
        if own is not None and right is not None:
            torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-4)


def test_derivatives_of_the_gradients_of_two_maps():
    modules, x = perceptron(), table()
    leaves = [x, *modules.parameters()]

    def again(call):
        grads = torch.autograd.grad(call(modules, x).pow(3).sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in grads), leaves)

    for own, right in zip(again(in_turn), again(lambda modules, x: modules(x)), strict=True):
        torch.testing.assert_close(own, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


def test_gradients_by_what_is_between_two_maps():
    first, _, last = perceptron()
    x = table()
    y, hidden = linear_maps.ReluBetween.apply(x, first.weight, first.bias, last.weight, last.bias)
    right = first(x).relu()
    leaves = [x, first.weight, first.bias]
    for loss, wanted in ((hidden.sin(), right.sin()), (y.sum() + hidden.sin(), last(right).sum() + right.sin())):
        pairs = [torch.autograd.grad(of.sum(), leaves, retain_graph=True) for of in (loss, wanted)]
        for own, its in zip(*pairs, strict=True):
            torch.testing.assert_close(own, its, rtol=1e-4, atol=1e-4)


def test_cotangents_of_two_maps_in_any_form():
    modules, x = perceptron(), table()
    y, wanted, many = in_turn(modules, x), modules(x), torch.randn(3, ROWS, 8)
    over = torch.vmap(lambda g: torch.autograd.grad(y, x, g, retain_graph=True)[0])(many)
    each = torch.stack([torch.autograd.grad(wanted, x, g, retain_graph=True)[0] for g in many])
    torch.testing.assert_close(over, each, rtol=1e-4, atol=1e-4)
    over = torch.autograd.grad(y, x, many, is_grads_batched=True, retain_graph=True)[0]
    torch.testing.assert_close(over, each, rtol=1e-4, atol=1e-4)
    place = torch.zeros(3, 1, dtype=torch.long)
    found = torch.autograd.grad(y.gather(1, place, sparse_grad=True).sum(), x, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(wanted.gather(1, place).sum(), x, retain_graph=True))
    for lay in LAYOUTS.values():
        grad = lay(many[0])
        found, right = (torch.autograd.grad(of, x, grad, retain_graph=True)[0] for of in (y, wanted))
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


def test_biases_may_change_before_the_backward_pass():
    modules, x = perceptron(), table()
    y, wanted = in_turn(modules, x), torch.autograd.grad(modules(x).sum(), x)
    with torch.no_grad():
        modules[0].bias.add_(1), modules[2].bias.add_(1)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x), wanted, rtol=1e-5, atol=1e-5)


def hooked(modules, number):
    modules[number].register_forward_hook(lambda module, inputs, out: 2 * out)
    return modules


@pytest.mark.parametrize(
    "make",
    [
        *[lambda number=number: hooked(perceptron(nn.Dropout(0.0)), number) for number in range(4)],
        lambda: perceptron(nn.Tanh()),
        lambda: nn.Sequential(nn.Linear(INPUTS, 16), nn.ReLU()),
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(INPUTS, 16), nn.GELU(), nn.Linear(16, 8)),
        lambda: nn.Sequential(nn.Linear(INPUTS, 16), nn.ReLU6(), nn.Linear(16, 8)),
        lambda: nn.Sequential(nn.Dropout(0.0)),
    ],
)
def test_sequences_that_are_something_else(make):
    modules, x = make(), table()
    torch.testing.assert_close(in_turn(modules, x), modules(x), rtol=1e-5, atol=1e-5)


def test_dropout_between_two_maps_draws_as_in_torch():
    modules, x = perceptron(nn.Dropout(0.5)), table()
    torch.manual_seed(1)
    wanted = modules(x)
    torch.manual_seed(1)
    torch.testing.assert_close(in_turn(modules, x), wanted, rtol=1e-5, atol=1e-5)


def test_one_table_in_parts(calls):
    module, x = nn.Linear(INPUTS, 24), table()
    for bias in (module.bias, None):
        found, wanted = linear_in_parts(x, module.weight, bias, 3), F.linear(x, module.weight, bias).chunk(3, -1)
        given = [tensor for tensor in (x, module.weight, bias) if tensor is not None]
        cotangents = [torch.randn_like(y) for y in found]
        of = [torch.autograd.grad(parts, given, cotangents) for parts in (found, wanted)]
        for own, right in zip([*found, *of[0]], [*wanted, *of[1]], strict=True):
            torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-5)
    assert calls == ["linear_forward_f32", "linear_backward_input_f32", "linear_backward_weight_f32"] * 2
    assert all(torch.equal(*pair) for pair in zip(
        linear_in_parts(x, module.weight, None, 4), F.linear(x, module.weight).chunk(4, -1), strict=True
    )) and len(calls) == 6  # fmt: skip


EDGES = torch.randint(ROWS, (2, 90), generator=torch.Generator().manual_seed(3))
LAYERS = {
    "TransformerConv": lambda: TransformerConv(INPUTS, 8, 2, edge_dim=3),
    "TransformerConv, beta": lambda: TransformerConv(INPUTS, 8, 2, edge_dim=3, beta=True),
    "TransformerConv, no root": lambda: TransformerConv(INPUTS, 8, 2, edge_dim=3, root_weight=False),
    "GATv2Conv": lambda: GATv2Conv(INPUTS, 8, 2, edge_dim=3),
    "GATv2Conv, shared": lambda: GATv2Conv(INPUTS, 8, 2, edge_dim=3, share_weights=True),
    "GATConv": lambda: GATConv(INPUTS, 8, 2, edge_dim=3),
    "GraphAttention": lambda: GraphAttention(INPUTS, 8, 2, edge_dim=3, gate=True),
    "GPSConv": lambda: GPSConv(INPUTS, GATConv(INPUTS, 6, 2, edge_dim=3), 2),
    "GPSConv, performer": lambda: GPSConv(INPUTS, GATConv(INPUTS, 6, 2, edge_dim=3), 2, attn_type="performer"),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("differentiate", [True, False])
def test_layers_have_the_numbers_that_they_have_without(name, differentiate, calls, monkeypatch):
    torch.manual_seed(4)
    layer, edge_attr = LAYERS[name](), torch.randn(90, 3)

    def call(x):
        return (layer(x, EDGES.clone(), edge_attr=edge_attr),)  # a graph that comes again remembers what ran

    def run():
        if differentiate:
            return step(call, table(), [layer])
        with torch.no_grad():
            return call(table())

    found = run()
    assert "linear_forward_f32" in calls
    monkeypatch.setattr(loops, "is_faster", lambda: False)
    count = len(calls)
    wanted = run()
    assert len(calls) == count
    for own, right in zip(found, wanted, strict=True):
        if right is not None:
            torch.testing.assert_close(own, right, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("outputs", [1, 7, 16])
def test_gradients_of_weights_lie_as_weights_do(outputs, calls):
    (module,), x = maps_of(outputs), table()
    (grad,) = torch.autograd.grad(linear(x, module.weight, module.bias).square().sum(), module.weight)
    assert grad.is_contiguous() and "linear_backward_weight_f32" in calls
    torch.testing.assert_close(grad, 2 * linear(x, module.weight, module.bias).T @ x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("relu", [False, True])
def test_biases_alone_need_no_input(relu, calls):
    modules = maps_of(16) + ([nn.ReLU(), nn.Linear(16, 8)] if relu else [])
    for module in (modules[0], modules[-1]):
        module.weight.requires_grad_(False)
    whole, x = nn.Sequential(*modules), table().detach()
    written = x.clone()
    y = in_turn(whole, written)
    written.zero_()
    found = torch.autograd.grad(y.sum(), modules[0].bias)[0]
    torch.testing.assert_close(found, torch.autograd.grad(whole(x).sum(), modules[0].bias)[0])
    assert "linear_forward_f32" in calls
    with torch.inference_mode():
        inferred = x.clone()
    torch.autograd.grad(in_turn(whole, inferred).sum(), modules[0].bias)


@pytest.mark.parametrize("make", [lambda: FeedForward(INPUTS, 32, "swiglu"), lambda: FeedForward(INPUTS, 16)])
def test_feed_forward(make, calls, monkeypatch):
    module = make()
    found = step(lambda x: (module(x),), table(), [module])
    assert calls.count("linear_forward_f32") == 2
    monkeypatch.setattr(loops, "is_faster", lambda: False)
    for own, right in zip(found, step(lambda x: (module(x),), table(), [module]), strict=True):
        torch.testing.assert_close(own, right, rtol=2e-5, atol=2e-5)


def test_linear_attention(calls):
    layer = LinearAttention(INPUTS, 8, 2)
    assert len(layer.project(table())) == 3 and calls == ["linear_forward_f32"]


def test_large_results_are_written_in_place_like_others(monkeypatch):
    """Large arrays come from NumPy; what a Function returns must not be a view of them."""
    monkeypatch.setattr(arrays, "LARGE_PAGES", 1)
    module = FeedForward(INPUTS, 16, "relu")
    x = table()
    h = module(x)
    h += x
    h.sum().backward()
    layer = TransformerConv(INPUTS, 8, 2, edge_dim=3)
    layer(x, EDGES, torch.randn(90, 3)).relu_().sum().backward()
    assert x.grad is not None


def test_hooks_that_go_after_their_first_call_see_what_modules_give():
    seen = []

    def once(linear):
        def keep(module, given, out):
            seen.append(out)
            handle.remove()

        handle = linear.register_forward_hook(keep)

    modules, feed_forward = nn.Sequential(nn.Linear(INPUTS, 16), nn.ReLU()), FeedForward(INPUTS, 16)
    once(modules[0])
    in_turn(modules, table())
    once(feed_forward.lin_in)
    feed_forward(table())
    assert len(seen) == 2 and all(bool((out < 0).any()) for out in seen)


def test_what_a_mode_keeps_is_not_written_over():
    kept = []

    class Keep(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if function is torch.ops.aten.addmm.default:
                kept.append((out, out.clone()))
            return out

    layer, x = TransformerConv(INPUTS, 8, 2), table()
    with Keep():
        FeedForward(INPUTS, 16)(x)
        layer(x, EDGES)
    assert len(kept) == 6 and all(torch.equal(out, before) for out, before in kept)


def test_nothing_is_kept_that_no_gradient_needs():
    (module,), x = maps_of(16), table().detach()
    (y,) = apply_linear(x, module)
    with torch.no_grad():
        module.weight.zero_()  # as an optimizer steps between two losses
    y.sum().backward()
    assert module.weight.grad is not None
    frozen, x = maps_of(16)[0].requires_grad_(False), table()
    doubled = 2 * x
    (y,) = apply_linear(doubled, frozen)
    doubled.detach().zero_()
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * frozen.weight.sum(0).expand_as(x), rtol=1e-5, atol=1e-5)


def test_sparse_cotangents_and_maps_over_backward_passes():
    (module,), x = maps_of(16), table()
    (y,) = apply_linear(x, module)
    place = torch.zeros(3, 1, dtype=torch.long)
    (found,) = torch.autograd.grad(y.gather(1, place, sparse_grad=True).sum(), x, retain_graph=True)
    (wanted,) = torch.autograd.grad(module(x).gather(1, place).sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    many = torch.randn(3, ROWS, 16)
    for layer in (lambda x: apply_linear(x, module)[0], TransformerConv(INPUTS, 8, 2), GATConv(INPUTS, 8, 2)):
        out = layer(x) if not isinstance(layer, nn.Module) else layer(x, EDGES)
        over = torch.vmap(lambda g, out=out: torch.autograd.grad(out, x, g, retain_graph=True)[0])(many)
        each = torch.stack([torch.autograd.grad(out, x, g, retain_graph=True)[0] for g in many])
        torch.testing.assert_close(over, each, rtol=1e-4, atol=1e-4)


def test_a_symbolic_trace():
    module, x = FeedForward(INPUTS, 16), table()
    torch.testing.assert_close(torch.fx.symbolic_trace(module)(x), module(x), rtol=1e-5, atol=1e-5)


def test_tables_by_column_and_of_few_rows_are_torchs(calls, monkeypatch):
    monkeypatch.setattr(linear_maps, "FEWEST", 64)
    (module,) = maps_of(16)
    apply_linear(torch.randn(63, INPUTS), module)
    apply_linear(torch.randn(INPUTS, 70).t(), module)
    assert not calls
    apply_linear(torch.randn(64, 2 * INPUTS)[:, :INPUTS], module)
    assert calls == ["linear_forward_f32"]
