"""Gradients as columns of one table: written where they belong, joined without a copy, and nobody's else memory touched."""

import pytest
import torch

from graphattn import attend
from graphattn.kernels.columns import empty_columns, join_columns
from graphattn.testing.cases import GRAPHS

WIDTHS = (12, 12, 12, 5)
SQUARE = [(name, graph) for name, graph, _ in GRAPHS if graph.num_queries == graph.num_keys > 1]


def table_and_columns(num_nodes=7, heads=3, dim=4, extra=5):
    """A table, and queries, keys and values in it."""
    table = torch.randn(num_nodes, 3 * heads * dim + extra, dtype=torch.float64)
    return table, [part.unflatten(1, (heads, dim)) for part in table[:, : 3 * heads * dim].split(heads * dim, 1)]


def filled(tensors):
    """Room for gradients with numbers in it."""
    found = empty_columns(tensors, lambda shape: torch.full(shape, torch.nan, dtype=torch.float64))
    for x in found:
        x.normal_()
    return found


def test_gradients_are_joined_where_they_lie():
    _, columns = table_and_columns()
    gradients, rest = filled(columns), torch.randn(7, 5, dtype=torch.float64)
    expected = torch.cat([*(x.reshape(7, 12) for x in gradients), rest], 1)
    with torch.no_grad():
        joined = join_columns([*gradients, rest], WIDTHS, rest)
    assert torch.equal(joined, expected)
    assert joined.data_ptr() == gradients[0].data_ptr()  # no copy


def test_a_gradient_that_is_missing_is_zero():
    _, columns = table_and_columns()
    gradients = filled(columns)
    with torch.no_grad():
        joined = join_columns([*gradients, None], WIDTHS, gradients[0])
        apart = join_columns([gradients[0], None, gradients[2], None], WIDTHS, gradients[0])
    assert not joined[:, 36:].any() and torch.equal(joined[:, :12], gradients[0].reshape(7, 12))
    assert not apart[:, 12:24].any() and torch.equal(apart[:, 24:36], gradients[2].reshape(7, 12))


@pytest.mark.parametrize("case", ["of the caller", "in other places", "changed by a hook", "half of them"])
def test_memory_of_others_is_left_alone(case):
    table, columns = table_and_columns()
    rest = torch.randn(7, 5, dtype=torch.float64)
    made = filled(columns)
    parts = list(made)
    if case == "of the caller":
        # As where somebody joins queries and keys again: autograd cuts that gradient into such columns.
        parts = [*columns[:2], columns[2].clone()]
    elif case == "in other places":
        parts = [parts[1], parts[0], parts[2]]
    elif case == "changed by a hook":
        parts[1] = parts[1] * 2
    else:
        parts[2] = parts[2].clone()
    before = [x.clone() for x in (table, *made, *parts)]
    with torch.no_grad():
        joined = join_columns([*parts, rest], WIDTHS, rest)
    assert torch.equal(joined, torch.cat([*(x.reshape(7, 12) for x in parts), rest], 1))
    assert all(torch.equal(x, y) for x, y in zip((table, *made, *parts), before))


@pytest.mark.parametrize(
    "case", ["contiguous", "two tables", "one tensor twice", "too few columns", "one row", "other widths"]
)
def test_other_tensors_get_memory_of_their_own(case):
    _, (query, key, value) = table_and_columns(extra=100 if case == "too few columns" else 5)
    if case == "contiguous":
        query, key, value = (x.contiguous() for x in (query, key, value))
    elif case == "two tables":
        _, (_, _, value) = table_and_columns()
    elif case == "one tensor twice":
        value = key
    elif case == "one row":
        query, key, value = query[:1], key[:1], value[:1]
    elif case == "other widths":
        key = key[..., :2]
    assert empty_columns([query, key, value], torch.empty) is None


@pytest.mark.parametrize("name, graph", SQUARE, ids=[name for name, _ in SQUARE])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attention_of_columns_is_that_of_copies(name, graph, dtype):
    table = torch.randn(graph.num_queries, 40, dtype=dtype).requires_grad_()
    columns = [part.unflatten(1, (3, 4)) for part in table[:, :36].split(12, 1)]
    copies = [x.detach().clone().requires_grad_() for x in columns]
    for x in columns:
        x.retain_grad()
    out = attend(*columns, graph, kernel="edges_cpu")
    grad = torch.randn_like(out)
    out.backward(grad)
    attend(*copies, graph, kernel="edges_cpu").backward(grad)
    assert torch.equal(out, attend(*copies, graph, kernel="edges_cpu"))
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
