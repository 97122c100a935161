"""What must hold for any graph and any tensors, whatever the kernel."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphattn import EdgeListGraph, attend, batch_graphs

settings.register_profile("graphattn", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("graphattn")
KERNELS = st.sampled_from(["edges_cpu", "edges_torch"])


@st.composite
def problems(draw):
    """A square graph, perhaps with repeats and empty rows, and query, key, value in float32."""
    num_nodes = draw(st.integers(1, 9))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=25))
    torch.manual_seed(draw(st.integers(0, 10**6)))
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
    return EdgeListGraph(edge_index, num_nodes), [torch.randn(num_nodes, 2, 8) for _ in range(3)]


@given(problems(), KERNELS, st.randoms(use_true_random=False))
def test_relabelling_nodes_relabels_the_result(problem, kernel, random):
    graph, tensors = problem
    order = list(range(graph.num_queries))
    random.shuffle(order)
    order = torch.tensor(order)  # new node i is old node order[i]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    relabelled = EdgeListGraph(place[graph.edge_index()], graph.num_queries)
    out = attend(*(x[order] for x in tensors), relabelled, kernel=kernel)
    torch.testing.assert_close(out, attend(*tensors, graph, kernel=kernel)[order])


@given(problems(), problems(), KERNELS)
def test_a_disjoint_union_is_its_parts_bit_for_bit(one, other, kernel):
    graph = batch_graphs([one[0], other[0]])
    out = attend(*(torch.cat(pair) for pair in zip(one[1], other[1])), graph, kernel=kernel)
    parts = [attend(*tensors, part, kernel=kernel) for part, tensors in (one, other)]
    assert torch.equal(out, torch.cat(parts))


@given(problems(), KERNELS, st.data())
def test_a_node_that_is_not_seen_changes_nothing_bit_for_bit(problem, kernel, data):
    graph, (query, key, value) = problem
    node = data.draw(st.integers(0, graph.num_keys - 1))
    out = attend(query, key, value, graph, kernel=kernel)
    key[node], value[node] = torch.nan, torch.inf
    changed = attend(query, key, value, graph, kernel=kernel)
    sees = torch.tensor([bool(graph.allows(i, node)) for i in range(graph.num_queries)])
    assert torch.equal(changed[~sees], out[~sees])


@given(problems(), KERNELS)
def test_equal_keys_give_the_mean_of_the_values(problem, kernel):
    graph, (query, _, value) = problem
    out = attend(query, torch.ones_like(value), value, graph, kernel=kernel)
    source, target = graph.edge_index()
    for i in range(graph.num_queries):
        seen = value[source[target == i]]
        torch.testing.assert_close(out[i], seen.mean(0) if len(seen) else torch.zeros_like(out[i]))


@given(problems(), KERNELS, st.randoms(use_true_random=False))
def test_the_order_of_columns_does_not_matter(problem, kernel, random):
    graph, tensors = problem
    bias = torch.randn(graph.num_edges, 2)
    order = list(range(graph.num_edges))
    random.shuffle(order)
    shuffled = EdgeListGraph(graph.edge_index()[:, order], graph.num_queries)
    out = attend(*tensors, shuffled, bias=bias[order], kernel=kernel)
    torch.testing.assert_close(out, attend(*tensors, graph, bias=bias, kernel=kernel))
