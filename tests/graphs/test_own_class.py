"""Classes of graphs that users write, by the public names of `Graph` alone."""

import copy
import pickle

import pytest
import torch

from graphattn import Graph, attend, batch_graphs
from graphattn.testing.cases import KnightMoves


class Far(Graph):
    """Keys at a distance of at least `least` from each query, along numbers that the user has."""

    def __init__(self, places, least):
        super().__init__(len(places))
        self.places, self.least = places, least

    def allows(self, query, key):
        return (self.places[query] - self.places[key]).abs() >= self.least


class FromKeys(Graph):
    """A class that knows its edges."""

    def __init__(self):
        super().__init__(2, 5)

    def allows(self, query, key):
        return key == torch.tensor([3, 0])[query]

    def keys_by_query(self, device):
        return torch.tensor([1, 1], device=device), torch.tensor([3, 0], device=device)


def test_tensors_are_kept_and_moved():
    graph = Far(torch.tensor([0.0, 1.0, 5.0]), 2.0)
    for twin in (copy.copy(graph), pickle.loads(pickle.dumps(graph)), graph.to("cpu"), graph.clone()):
        assert torch.equal(twin.edge_index(), graph.edge_index()) and twin.least == 2.0
    assert graph.device == torch.device("cpu") and graph.to("meta").device == torch.device("meta")
    assert graph.edge_index().tolist() == [[2, 2, 0, 1], [0, 1, 2, 2]]


def test_a_transposed_graph_takes_its_tensors_along():
    graph = Far(torch.tensor([0.0, 1.0, 5.0]), 2.0)
    assert graph.T.to("meta").device == torch.device("meta")
    assert graph.T.clone().graph.places.data_ptr() != graph.places.data_ptr()
    assert torch.equal(graph.T.clone().edge_index(), graph.edge_index().flip(0))
    assert (graph.T.clone() | graph.T).T.to("meta").device == torch.device("meta")


def test_two_are_equal_if_their_fields_are():
    places = torch.tensor([0.0, 1.0, 5.0])
    graph = Far(places, 2.0)
    assert graph == Far(places.clone(), 2.0) and hash(graph) == hash(Far(places.clone(), 2.0))
    assert graph != Far(places, 3.0) and graph != Far(places + 1, 2.0) and graph != graph.T and graph != FromKeys()


def test_edges_that_a_class_knows_are_not_asked_for():
    assert FromKeys().edge_index().tolist() == [[3, 0], [0, 1]]
    assert FromKeys().T.edge_index().tolist() == [[0, 1], [3, 0]]


def test_one_line_of_repr():
    assert repr(KnightMoves(3)) == "KnightMoves(num_queries=9, num_keys=9, side=3)"
    assert repr(Far(torch.zeros(3), 2.0)) == "Far(num_queries=3, num_keys=3, places=[3], least=2.0)"
    assert repr(FromKeys()) == "FromKeys(num_queries=2, num_keys=5)"
    assert repr(FromKeys().T) == "FromKeys(num_queries=2, num_keys=5).T"


def test_without_its_sizes_it_says_what_to_call():
    class Plain(FromKeys):
        def __init__(self):
            self.start = 3

    x = torch.randn(2, 1, 4)
    for ask in (Plain.edge_index, lambda graph: graph.num_queries, lambda graph: attend(x, x, x, graph)):
        with pytest.raises(
            TypeError, match=r"this Plain has no sizes; call super\(\).__init__\(num_queries, num_keys\)"
        ):
            ask(Plain())


@pytest.mark.parametrize(
    "answer, got", [((0, 0, 1), "torch.int64"), (True, "bool"), (torch.tensor(True), r"torch.bool \[\]")]
)
def test_allows_answers_with_a_bool_for_each_pair(answer, got):
    class Wrong(Graph):
        def allows(self, query, key):
            return (query - key) % 2 if isinstance(answer, tuple) else answer

    for ask in (Graph.edge_index, Graph.mask):
        with pytest.raises(TypeError, match=f"'allows' of Wrong must give a bool for each pair .*got {got}"):
            ask(Wrong(3))


def test_allows_may_look_at_keys_alone():
    class First(Graph):
        def allows(self, query, key):
            return key == 0

    assert First(3).mask().tolist() == [[True, False, False]] * 3
    assert First(3).edge_index().tolist() == [[0, 0, 0], [0, 1, 2]]


def test_it_cannot_be_changed_once_it_knows_its_edges():
    graph = KnightMoves(3)
    graph.side = 3
    edges = graph.edge_index()
    with pytest.raises(AttributeError, match="a graph never changes, .*got another 'side' for KnightMoves"):
        graph.side = 4
    graph.name = "board"  # which has no part in it
    assert graph.side == 3 and torch.equal(graph.edge_index(), edges)


def test_many_examples_are_batched():
    class Ragged(KnightMoves):
        def __init__(self):
            Graph.__init__(self, [3, 4])

    with pytest.raises(ValueError, match="batch_graphs"):
        Ragged()
    batch = batch_graphs([KnightMoves(3), KnightMoves(4)])
    x = torch.randn(25, 2, 4)
    alone = torch.cat([attend(part, part, part, KnightMoves(side)) for part, side in zip(x.split([9, 16]), (3, 4))])
    torch.testing.assert_close(attend(x, x, x, batch), alone)


def test_allows_must_be_defined():
    class Nothing(Graph):
        pass

    with pytest.raises(TypeError, match="allows"):
        Nothing(3)


def test_compiled():
    graph, x = KnightMoves(3), torch.randn(9, 2, 4)
    run = torch.compile(lambda x: attend(x, x, x, graph), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(x), attend(x, x, x, graph))


@pytest.mark.parametrize(
    "degrees, keys, message",
    [
        ([2, 2], [0, 1, 2], "a degree for each of 2 queries, in all as many as keys .*sum of 4, and 3 keys"),
        ([3], [0, 1, 2], "got 1 degrees"),
        ([-1, 4], [0, 1, 2], "in all as many as keys"),
        ([1, 2], [0, 1, 5], r"keys 0 to 4 \(got 0 to 5\)"),
        ([1, 2], [-1, 1, 4], r"got -1 to 4"),
        ([1, 2], [0, 4, 1], "ascending order"),
        ([1, 2], [0, 1, 1], r"each once \(got 1, 1 for query 1\)"),
    ],
)
@pytest.mark.parametrize("kernel", [None, "edges_torch"])
def test_edges_that_cannot_be_are_refused_before_a_loop_reads_them(degrees, keys, message, kernel):
    class Wrong(FromKeys):
        def keys_by_query(self, device):
            return torch.tensor(degrees, device=device), torch.tensor(keys, device=device)

    with pytest.raises(ValueError, match=message):
        attend(torch.randn(2, 1, 4), torch.randn(5, 1, 4), torch.randn(5, 1, 4), Wrong(), kernel=kernel)


def test_edges_of_another_form_are_refused():
    class Wrong(FromKeys):
        def keys_by_query(self, device):
            return torch.ones(2, device=device), torch.zeros(2, device=device).long()

    with pytest.raises(ValueError, match="degrees as int64 in one row"):
        Wrong().edge_index()
