import gc
import weakref

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn.graphs import CompleteGraph, EdgeListGraph, GridGraph, as_graph, batch_graphs, causal
from graphattn.graphs.beside import beside
from graphattn.graphs.together import _MADE, made_together
from graphattn.nn import HeteroGraphAttention, HopBias

EDGES = torch.tensor([[0, 2, 1], [1, 0, 2]])


def new_edges():
    return EdgeListGraph(EDGES, 3)


def test_made_once_for_the_same_graphs():
    graphs, calls = [new_edges(), causal(2)], []

    def build(given):
        calls.append(given)
        return batch_graphs(given)

    first = made_together(graphs, "batch", build)
    assert made_together(tuple(graphs), "batch", build) is first and len(calls) == 1
    assert made_together(graphs, "other", build) is not first
    assert made_together(graphs[::-1], "batch", build).sizes == ((2, 2), (3, 3))
    assert made_together([graphs[0], causal(2)], "batch", build) is not first  # other objects


def test_an_error_leaves_nothing():
    graphs, before = [causal(2)], len(_MADE)
    with pytest.raises(ZeroDivisionError):
        made_together(graphs, "nothing", lambda _: 1 / 0)
    assert len(_MADE) == before


def joined_list(graphs):
    return as_graph(graphs)


def joined_data(graphs):
    return as_graph(Batch.from_data_list([Data(num_nodes=graph.num_queries, graph=graph) for graph in graphs]))


def joined_beside(graphs):
    return beside([*graphs, CompleteGraph(3, 2)])


def hops_along(graphs):
    HopBias(1, max_distance=2).between(*graphs)


@pytest.mark.parametrize("join", [joined_list, joined_data, joined_beside, hops_along])
@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("make", [new_edges, lambda: GridGraph((3,), 0, 1), lambda: causal(3) & new_edges()])
def test_graphs_end_with_the_caller(join, kept, make):
    gc.collect()
    before = len(_MADE)
    graphs = [make(), new_edges()]
    joined = join(graphs)
    if joined is not None:
        joined.csr()
        joined = weakref.ref(joined)
    still, alive = graphs[kept], weakref.ref(graphs[1 - kept])
    gc.disable()
    try:
        del graphs
        assert alive() is None and len(_MADE) == before  # at once, though the other one is still there
        assert joined is None or joined() is None
    finally:
        gc.enable()
    assert still.num_edges


def test_what_a_mixed_batch_holds():
    graphs = [causal(3), new_edges()]
    joined = as_graph(graphs)
    assert as_graph(graphs) is joined
    alive = weakref.ref(joined)
    del joined
    assert alive() is not None  # for the next layer
    del graphs
    gc.collect()
    assert alive() is None


def test_lists_of_tensors_end_with_the_tensors():
    gc.collect()
    tensors, before = [EDGES.clone(), EDGES.flip(0)], len(_MADE)
    joined = as_graph(tensors, [3, 3])
    assert as_graph(tensors, [3, 3]) is joined
    tensors[1].numpy()[0, 0] = 0  # torch does not know
    assert as_graph(tensors, [3, 3]).edge_index()[:, 3].tolist() == [3, 3]
    assert joined.edge_index()[:, 3].tolist() == [4, 3]
    alive = weakref.ref(joined)
    del joined, tensors
    gc.collect()
    assert alive() is None and len(_MADE) == before


def test_typed_edges_end_with_the_caller():
    metadata = ["a", "b"], [("a", "to", "b"), ("b", "to", "b")]
    layer = HeteroGraphAttention(4, 2, metadata)
    gc.collect()
    before = len(_MADE)
    x = {kind: torch.ones(3, 4) for kind in "ab"}
    edges = {kind: EDGES.clone() for kind in metadata[1]}
    layer(x, edges), layer(x, edges)
    assert len(_MADE) == before + 1
    del edges
    gc.collect()
    assert len(_MADE) == before
