import pytest
import torch

from graphattn import BandedGraph, EdgeListGraph, attend
from graphattn.kernels.kernel import Needed
from graphattn.kernels.native import banded_cpu, border, edges, edges_cpu
from graphattn.kernels.native.library import why_not_native
from graphattn.running.arguments import prepare
from tests.kernels.native.structs import declared_fields, fields_in_c

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the library is not here")


def test_the_struct_is_that_of_c():
    assert fields_in_c("edges_fields") == declared_fields(edges.Edges)


def call_of(heads=2, graph=None):
    torch.manual_seed(0)
    graph = EdgeListGraph(torch.tensor([[0, 1, 2, 0], [0, 0, 1, 2]]), 3) if graph is None else graph
    plan, inputs, _ = prepare(*[torch.randn(3, heads, 4) for _ in range(3)], graph)
    return plan, inputs, edges.forward_call(plan, inputs)


def test_calls_are_remembered_by_graph_sizes_and_options():
    plan, inputs, call = call_of()
    assert edges.forward_call(plan, inputs) is call
    assert call_of(graph=plan.graph)[2] is call
    assert call_of(heads=1, graph=plan.graph)[2] is not call
    over_queries, over_keys = edges.backward_calls(plan, inputs, inputs.query)
    assert over_queries is not call and over_keys is not over_queries
    assert edges.backward_calls(plan, inputs, inputs.query).over_keys is over_keys
    of_queries = plan._replace(needed=Needed(key=False, value=False))
    assert edges.backward_calls(of_queries, inputs, inputs.query) == (over_queries, None)
    doubled = prepare(*(x.double() for x in inputs[:3]), plan.graph)
    assert edges.forward_call(doubled.plan, doubled.inputs) is not call
    forgetful = plan._replace(memory=None)  # as a part of a graph has it
    assert edges.forward_call(forgetful, inputs) is call


def test_tensors_of_another_size_are_refused():
    plan, inputs, call = call_of()
    struct = call.struct(plan)
    with pytest.raises(ValueError, match=r"takes `key` as 24 numbers .* \(got 16 of torch.float32"):
        edges.let_read_inputs(call, struct, inputs._replace(key=inputs.key[:2]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", ["edges_cpu", "banded_cpu"])
def test_no_half_is_converted(monkeypatch, kernel, dtype):
    """What is as long as a tensor of the user is read and written in its own dtype."""
    converted, readable = [], border.readable

    def watch(tensor, wanted):
        if tensor is not None and tensor.dtype is not wanted:
            converted.append((tensor.shape, tensor.dtype, wanted))
        return readable(tensor, wanted)

    for module in (border, edges_cpu, banded_cpu):
        monkeypatch.setattr(module, "readable", watch)
    graph = BandedGraph(40, 3, 3) if kernel == "banded_cpu" else EdgeListGraph(torch.randint(0, 40, (2, 300)), 40)
    tensors = [torch.randn(40, 2, 8).to(dtype).requires_grad_() for _ in range(3)]
    out = attend(*tensors, graph, kernel=kernel)
    torch.autograd.grad(out, tensors, torch.randn_like(out))
    assert not converted


def test_results_of_halves_are_halves():
    plan, inputs, _ = call_of()
    inputs = inputs._replace(**{name: getattr(inputs, name).bfloat16() for name in ("query", "key", "value")})
    plan = plan._replace(memory=None)  # of another dtype
    final = plan._replace(is_final=True, memory=None)
    assert edges_cpu.EdgesCpu().forward(final, inputs).out.dtype == torch.bfloat16
    merged = edges_cpu.EdgesCpu().forward(plan, inputs)
    assert merged.out.dtype == torch.float32  # it may be merged with others
    grads = edges_cpu.EdgesCpu().backward(plan, inputs, merged, merged._replace(out=merged.out.bfloat16()))
    assert [x.dtype for x in grads[:3]] == [torch.bfloat16] * 3


def test_what_is_asked_for_ahead_changes_no_number(monkeypatch):
    pairs = torch.randint(300, (2, 30_000), generator=torch.Generator().manual_seed(0))
    tensors = torch.randn(3, 300, 2, 16, generator=torch.Generator().manual_seed(1))
    found = []
    for far in (0, 2**40):
        monkeypatch.setattr(edges, "FAR", far)
        graph = EdgeListGraph(pairs, 300)
        plan, inputs, _ = prepare(*tensors, graph)
        assert edges.forward_call(plan, inputs).template.ahead == (far == 0)
        found.append(attend(*tensors, graph, kernel="edges_cpu"))
    assert torch.equal(*found)
