"""Queries, keys and values that are columns of one table, and tensors that are given twice."""

from contextlib import nullcontext

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, attend, causal, memory_budget
from graphattn.running.arguments import prepare
from graphattn.testing.cases import GRAPHS

SQUARE = [(name, graph) for name, graph, _ in GRAPHS if graph.num_queries == graph.num_keys > 1]


RUN = [("edges_cpu", name, graph) for name, graph in SQUARE]
RUN += [("banded_cpu", name, graph) for name, graph in SQUARE if isinstance(graph, (BandedGraph, CompleteGraph))]


@pytest.mark.parametrize("kernel, name, graph", RUN, ids=[f"{kernel}-{name}" for kernel, name, _ in RUN])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attention_of_columns_is_that_of_copies(kernel, name, graph, dtype):
    if kernel == "banded_cpu" and dtype is torch.float64:
        pytest.skip("'banded_cpu' runs float32, bfloat16 and float16")
    table = torch.randn(graph.num_queries, 40, dtype=dtype).requires_grad_()
    columns = [part.unflatten(1, (3, 4)) for part in table[:, :36].split(12, 1)]
    copies = [x.detach().clone().requires_grad_() for x in columns]
    for x in columns:
        x.retain_grad()
    out = attend(*columns, graph, kernel=kernel)
    grad = torch.randn_like(out)
    out.backward(grad)
    attend(*copies, graph, kernel=kernel).backward(grad)
    assert torch.equal(out, attend(*copies, graph, kernel=kernel))
    assert all(torch.equal(x.grad, y.grad) for x, y in zip(columns, copies))
    assert (
        torch.equal(table.grad[:, :36], torch.cat([x.grad.flatten(1) for x in copies], 1))
        and not table.grad[:, 36:].any()
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch", "reference"])
@pytest.mark.parametrize("is_detached", [False, True])
def test_a_tensor_given_twice_has_the_gradients_of_both(kernel, dtype, is_detached):
    """And one that only shares its memory has its own."""
    graph = {name: graph for name, graph, _ in GRAPHS}["edge_list_repeated"]
    num_queries, num_keys, num_edges = graph.num_queries, graph.num_keys, graph.num_edges
    query, key = (torch.randn(n, 2, 8, dtype=dtype).requires_grad_() for n in (num_queries, num_keys))
    features = torch.randn(num_edges, 2, 8, dtype=dtype).requires_grad_()

    def gradients(edge_query, value, kernel):
        results = attend(query, key, value, graph, edge_features=features, edge_query=edge_query, kernel=kernel)
        total = sum((x.double() * torch.arange(x.numel()).view_as(x).double().cos()).sum() for x in results)
        return torch.autograd.grad(total, [query, key, features])

    twins = (query.detach(), key.detach()) if is_detached else (query, key)
    apart = [x.clone() for x in twins]  # the same numbers elsewhere, whose gradients autograd adds
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    for found, wanted in zip(gradients(*twins, kernel), gradients(*apart, "reference")):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_bytes", [None, 1])
def test_a_tensor_given_twice_to_parts_of_a_graph_has_the_gradients_of_both(num_bytes):
    """Parts run on kernels of their own, whose gradients are added up."""
    graph = BandedGraph(40, 2, 2) | EdgeListGraph(torch.tensor([[0, 30, 7], [20, 3, 35]]), 40) | GlobalGraph(40, [5])
    query, key = (torch.randn(40, 2, 8).requires_grad_() for _ in range(2))
    grad = torch.randn(40, 2, 8)

    def gradients(value):
        with nullcontext() if num_bytes is None else memory_budget(num_bytes):
            return torch.autograd.grad(attend(query, key, value, graph), [query, key], grad)

    for found, wanted in zip(gradients(key), gradients(key.clone())):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_part_is_asked_for_each_gradient():
    """One that is in another's would be lost where the next part has it apart."""
    x = torch.randn(4, 1, 2)
    plan = prepare(x, x, x, causal(4)).plan
    assert plan.value_is_key and plan.over(plan.graph) is plan and not plan.over(CompleteGraph(4)).value_is_key
