import copy
import pickle

import pytest
import torch

from graphattn import attend
from graphattn.graphs import CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, as_graph, batch_graphs, causal
from graphattn.graphs.of_edges import GraphOfEdges, depends_on_edges, graph_alone

EDGES = EdgeListGraph(torch.tensor([[0, 1, 3, 1], [1, 2, 1, 2]]), 4)
GRAPHS = {
    "edges": EDGES,
    "band": causal(4),
    "complete": CompleteGraph([2, 2]),
    "transposed": GridGraph((4,), 1, border="shift").T,
    "union": causal(4) | GlobalGraph(4, [1]),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_it_answers_what_its_graph_answers(graph):
    kept = GraphOfEdges(graph, CompleteGraph(4))
    assert not kept.follows and GraphOfEdges(graph).follows and repr(kept) == repr(graph)
    facts = (
        "sizes",
        "shape",
        "num_edges",
        "device",
        "is_symmetric",
        "has_repeats",
        "has_own_order",
        "starts",
        "edges_by_key",
    )
    assert all(getattr(kept, name) == getattr(graph, name) for name in facts)
    for one, other in ((kept, graph), (kept.T, graph.T), *zip(kept.examples(), graph.examples())):
        assert torch.equal(one.edge_index(), other.edge_index()) and torch.equal(one.mask(), other.mask())
        assert torch.equal(one.degrees(), other.degrees()) and torch.equal(one.batch(), other.batch())
        assert all(torch.equal(a, b) for a, b in zip(one.csr()[:2], other.csr()[:2]))
    nodes = torch.tensor([1, 2])
    assert torch.equal(kept.subgraph(nodes).edge_index(), graph.subgraph(nodes).edge_index())
    if not graph.has_repeats:
        pairs = (kept | graph, graph), (kept & graph, graph), (~kept, ~graph)
        assert all(torch.equal(one.mask(), other.mask()) for one, other in pairs)
    x = torch.rand(4, 1, 3)
    assert torch.equal(attend(x, x, x, kept), attend(x, x, x, graph))
    both = torch.cat([x, x])
    mixed = [kept, causal(4)]
    assert torch.equal(
        attend(both, both, both, as_graph(mixed)), attend(both, both, both, batch_graphs([graph, causal(4)]))
    )


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_copies_are_kept_alike(graph):
    for kept in (GraphOfEdges(graph), GraphOfEdges(graph, EDGES)):
        for twin in (
            copy.copy(kept),
            copy.deepcopy(kept),
            pickle.loads(pickle.dumps(kept)),
            kept.clone(),
            kept.to("cpu"),
        ):
            assert type(twin) is GraphOfEdges and twin.follows == kept.follows
            assert torch.equal(twin.edge_index(), graph.edge_index())
            assert torch.equal(twin.of_edges.edge_index(), kept.of_edges.edge_index())


def test_it_is_never_kept_in_another():
    kept = GraphOfEdges(EDGES)
    assert GraphOfEdges(kept).graph is EDGES and GraphOfEdges(causal(4), kept).of_edges is EDGES
    assert graph_alone(kept) is graph_alone(EDGES) is EDGES
    assert depends_on_edges(kept) and depends_on_edges([EDGES, kept])
    assert not depends_on_edges(EDGES) and not depends_on_edges([EDGES]) and not depends_on_edges(None)
