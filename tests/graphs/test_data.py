"""A graph as an attribute of PyG's Data: DataLoader, Batch, to, pickling."""

import copy
import io
import pickle

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphattn.graphs import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    GridGraph,
    as_graph,
    batch_graphs,
    causal,
)
from tests.cases import ASYMMETRIC, SQUARE, edge_list

KINDS = {
    "complete": lambda n: CompleteGraph(n),
    "banded": lambda n: BandedGraph(n, 2, 1),
    "grid": lambda n: GridGraph((1, n), 1),
    "global": lambda n: GlobalGraph(n, [0]),
    "edge_list": lambda n: edge_list(SQUARE, n),
    "union": lambda n: causal(n) | edge_list(SQUARE, n),
    "complement": lambda n: ~edge_list(SQUARE, n),
    "transposed": lambda n: GridGraph((n,), 1, border="shift").T,
    "batched": lambda n: batch_graphs([causal(n - 1), CompleteGraph(1)]),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def data_list(make):
    return [Data(x=torch.rand(n, 2), graph=make(n), y=torch.tensor([n])) for n in (5, 7, 6)]


def assert_same(one, other):
    assert type(one) is type(other) and one.sizes == other.sizes
    assert torch.equal(one.edge_index(), other.edge_index())


@every_kind
def test_batch_and_get_example(make):
    examples = data_list(make)
    batch = Batch.from_data_list(examples)
    assert isinstance(batch.graph, list)
    assert batch.num_nodes == 18
    assert_same(as_graph(batch.graph, batch.num_nodes), batch_graphs([example.graph for example in examples]))
    assert torch.equal(as_graph(batch).batch(), torch.repeat_interleave(torch.arange(len(as_graph(batch).sizes)),
                       torch.tensor([size[0] for size in as_graph(batch).sizes])))  # fmt: skip
    for number, example in enumerate(examples):
        assert batch.get_example(number).graph is example.graph
    assert [example.graph for example in batch.to_data_list()] == [example.graph for example in examples]


@every_kind
def test_data_loader(make):
    check_data_loader(make, num_workers=0)


def test_data_loader_in_another_process():
    check_data_loader(KINDS["union"], num_workers=1)


def check_data_loader(make, num_workers):
    examples = data_list(make)
    batches = list(DataLoader(examples, batch_size=2, num_workers=num_workers))
    assert [as_graph(batch).num_queries for batch in batches] == [12, 6]
    assert_same(as_graph(batches[0]), batch_graphs([examples[0].graph, examples[1].graph]))


@every_kind
def test_to_clone_and_copy(make):
    data = data_list(make)[0]
    for twin in (data.to("cpu"), data.clone(), copy.copy(data), copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert_same(twin.graph, data.graph)
    moved = data.clone().to("meta").graph
    assert moved.device is None if data.graph.device is None else moved.device.type == "meta"


def test_to_moves_the_graphs_of_a_batch():
    batch = Batch.from_data_list(data_list(KINDS["union"])).to("meta")
    assert {graph.device.type for graph in batch.graph} == {"meta"}


@every_kind
def test_save_and_load(make):
    data, file = data_list(make)[0], io.BytesIO()
    torch.save(data.to_dict(), file)
    file.seek(0)
    assert_same(torch.load(file, weights_only=True)["graph"], data.graph)


@every_kind
def test_pin_memory(make, monkeypatch):
    # Page-locked memory needs an accelerator; what matters is that every tensor is asked.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    data = data_list(make)[0]
    graph = data.graph
    pinned = data.pin_memory().graph
    assert_same(pinned, graph)
    if isinstance(graph, EdgeListGraph):
        assert pinned.edge_index().data_ptr() != graph.edge_index().data_ptr()


def test_num_nodes_is_not_taken_from_the_graph():
    data = Data(x=torch.rand(6, 2), graph=causal(6), edge_index=torch.tensor(ASYMMETRIC[:1]).t())
    assert data.num_nodes == 6 and not data.is_node_attr("graph") and not data.is_edge_attr("graph")
    assert data.validate()


def test_stale_graph_is_named():
    data = Data(x=torch.rand(6, 2), graph=causal(6), edge_index=torch.zeros(2, 0, dtype=torch.long))
    part = data.subgraph(torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"graph.subgraph\(nodes\)"):
        as_graph(part.graph, part.num_nodes)
