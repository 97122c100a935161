import ctypes

import pytest
import torch

from graphattn import EdgeListGraph
from graphattn.kernels.native import edges
from graphattn.kernels.native.library import library, why_not_native
from graphattn.running.arguments import prepare

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the library is not here")


class Field(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("offset", ctypes.c_int64), ("size", ctypes.c_int64))


def test_the_struct_is_that_of_c():
    table = (Field * 100).in_dll(library(), "edges_fields")
    found = []
    while table[len(found)].name is not None:
        field = table[len(found)]
        found.append((field.name.decode(), field.offset, field.size))
    declared = [(name, getattr(edges.Edges, name).offset, getattr(edges.Edges, name).size) for name, _ in edges.Edges._fields_]
    assert found == declared


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
    doubled = prepare(*(x.double() for x in inputs[:3]), plan.graph)
    assert edges.forward_call(doubled.plan, doubled.inputs) is not call
    forgetful = plan._replace(memory=None)  # as a part of a graph has it
    assert edges.forward_call(forgetful, inputs) is call


def test_tensors_of_another_size_are_refused():
    plan, inputs, call = call_of()
    struct = call.struct(plan)
    with pytest.raises(ValueError, match=r"takes `key` as 24 numbers .* \(got 16 of torch.float32"):
        edges.let_read_inputs(call, struct, inputs._replace(key=inputs.key[:2]))
