import gc
import pickle

import pytest
import torch

from graphattn.graphs import BandedGraph, CompleteGraph, GridGraph, as_graph, causal
from graphattn.graphs.graph import graph_of_number
from graphattn.graphs.traced import TracedGraph, derivation, derive, ticket, ticket_of


def traced(graph):
    return TracedGraph(ticket_of(graph), *graph.shape, graph)


def test_a_ticket_keeps_its_graph_and_an_alias_of_it_too():
    graph = causal(5)
    number, one = graph.number, ticket(graph.number)
    other = one.detach()
    del graph, one
    gc.collect()
    assert graph_of_number(number) == causal(5) and int(other) == number
    del other
    gc.collect()
    with pytest.raises(ValueError, match=f"no graph of number {number} any more; keep a graph"):
        graph_of_number(number)


def test_copies_have_numbers_of_their_own():
    graph = CompleteGraph(4)
    numbers = {one.number for one in (graph, CompleteGraph(4), pickle.loads(pickle.dumps(graph)), graph.T)}
    assert len(numbers) == 4
    assert CompleteGraph(4) == graph


@pytest.mark.parametrize("graph", [CompleteGraph([2, 3], [1, 4]), BandedGraph(5, 1, 0).T, GridGraph((2, 3), 1)])
def test_operators_say_what_the_graph_says(graph):
    own = traced(graph)
    assert own.shape == graph.shape and own.device is None
    assert torch.equal(own.edge_index(), graph.edge_index())
    assert torch.equal(own.degrees(), graph.degrees())
    assert torch.equal(own.batch(), graph.batch())
    assert own.example_sizes().tolist() == [list(size) for size in graph.sizes]
    assert own.num_examples == graph.num_examples


@pytest.mark.parametrize("tensor", [torch.tensor([[4, 0, 0], [2, 0, 1]]), torch.ones(3, 5).triu(1).bool()])
def test_an_edge_index_and_a_mask_stand_for_graphs(tensor):
    own, graph = TracedGraph(tensor, 3, 5), as_graph(tensor, 3, 5)
    assert torch.equal(own.edge_index(), graph.edge_index())
    assert own.num_edges == graph.num_edges
    assert own.may_have_edges(graph.num_edges)


def test_outside_of_compiled_code_it_is_the_graph():
    graph = as_graph(torch.tensor([[1, 0, 1], [0, 1, 0]]), 2)
    own = traced(graph)
    assert as_graph(own) is graph
    assert own.sizes == graph.sizes and own.num_edges == 3 and own.has_repeats and own.has_own_order
    assert torch.equal(own.mask(), graph.mask())
    assert torch.equal(own.csr().edge_id, graph.csr().edge_id)
    assert torch.equal(own.csr_transposed().col, graph.csr_transposed().col)
    assert torch.equal(own.T.edge_index(), graph.T.edge_index())


def test_a_graph_of_other_graphs():
    @derivation()
    def beside(first, second, number):
        return CompleteGraph([first.num_queries, second.num_queries], [number, number])

    made = derive(beside, [traced(causal(3)), TracedGraph(torch.tensor([[0], [1]]), 2, 2)], 5, 8, 4)
    assert made.shape == (5, 8)
    assert as_graph(made) == CompleteGraph([3, 2], [4, 4])


@pytest.mark.parametrize("name", ["edge_index", "degrees", "example_of_query"])
def test_fake_results_have_the_right_form(name):
    operator = getattr(torch.ops.graphattn, name).default
    tests = "test_schema", "test_faketensor"
    torch.library.opcheck(operator, (ticket_of(CompleteGraph([2, 1])), 3, 3, torch.device("cpu")), test_utils=tests)
