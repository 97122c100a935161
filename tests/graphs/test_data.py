"""A graph as an attribute of PyG's Data: DataLoader, Batch, to, pickling."""

import copy
import io
import pickle
from itertools import permutations

import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Batch, Data, InMemoryDataset
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
from graphattn.graphs.data import GraphData, follow_edges
from graphattn.testing.cases import ASYMMETRIC, SQUARE, edge_list
from graphattn.transforms import Complete, GlobalNodes

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


# A graph that follows the edges ---------------------------------------------------------------------------------------

EDGES = torch.tensor([[0, 1, 3, 4, 4], [1, 2, 1, 3, 0]])


def following(edges=EDGES, num_nodes=6, is_undirected=False):
    data = Data(x=torch.rand(num_nodes, 2), edge_index=edges, edge_attr=torch.rand(edges.size(1), 3))
    return follow_edges(data, EdgeListGraph(edges, num_nodes, is_undirected=is_undirected))


CHANGES = {
    "AddSelfLoops": T.AddSelfLoops(),
    "AddRemainingSelfLoops": T.AddRemainingSelfLoops(),
    "ToUndirected": T.ToUndirected(),
    "RemoveIsolatedNodes": T.RemoveIsolatedNodes(),
    "LargestConnectedComponents": T.LargestConnectedComponents(),
    "GCNNorm": T.GCNNorm(),
    "TwoHop": T.TwoHop(),
    "VirtualNode": T.VirtualNode(),
    "LineGraph": T.LineGraph(),
    "subgraph": lambda data: data.subgraph(torch.tensor([1, 2, 3])),
    "edge_subgraph": lambda data: data.edge_subgraph(torch.arange(data.num_edges) % 2 == 0),
    "sort": lambda data: data.sort(),
    "in place": lambda data: data.update({"edge_index": data.edge_index.copy_(data.edge_index.flip(0))}),
    "flipped": lambda data: data.update({"edge_index": data.edge_index.flip(0)}),
}


@pytest.mark.parametrize("batched", [False, True], ids=["one", "batch"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_graph_follows_what_pyg_makes_of_the_edges(change, batched):
    data = Batch.from_data_list([following(), following(EDGES.flip(0))]) if batched else following(EDGES.clone())
    data = change(data)
    if batched and isinstance(change, (T.VirtualNode, T.LineGraph)) and data.num_nodes != 12:
        del data.ptr  # PyG leaves it as it was, and no node of these belongs to one example after another
    graph = as_graph(data.graph)
    assert torch.equal(graph.edge_index(), data.edge_index) and graph.shape == (data.num_nodes, data.num_nodes)
    assert as_graph(data) is graph or torch.equal(as_graph(data).edge_index(), data.edge_index)


def test_a_batch_whose_nodes_changed_has_the_sizes_of_batch():
    batch = Batch.from_data_list([following(), following(), following()])
    for nodes, sizes in (([0, 1, 4, 6, 13], (3, 1, 1)), ([1, 2, 12], (2, 0, 1)), ([0, 7], (1, 1, 0))):
        part = batch.subgraph(torch.tensor(nodes))
        graph, wanted = part.graph, tuple((size, size) for size in sizes)
        assert graph.sizes == as_graph(part).sizes == wanted and torch.equal(graph.edge_index(), part.edge_index)
        plain = Data(x=part.x, edge_index=part.edge_index, batch=part.batch, ptr=part.ptr)
        assert as_graph(plain).sizes == Complete()(part).graph.sizes == wanted
    for mixed in (batch.subgraph(torch.tensor([1, 2])).update({"batch": torch.tensor([1, 0])}), T.VirtualNode()(batch)):
        for read in (as_graph, Complete(), lambda data: data.graph):
            with pytest.raises(ValueError, match="'batch' does not number the examples .* delete 'ptr'"):
                read(mixed)


def test_the_graph_follows_a_sparse_matrix():
    data = T.ToSparseTensor(remove_edge_index=True)(following())
    assert data.edge_index is None and sorted(map(tuple, data.graph.edge_index().t().tolist())) == sorted(
        map(tuple, EDGES.t().tolist())
    )
    assert torch.equal(data.graph.edge_index()[1], data.adj_t.to_sparse_coo().coalesce().indices()[0])  # in its order


def test_the_graph_is_kept_while_the_edges_are():
    data = following(is_undirected=True)
    for twin in (data, copy.copy(data), data.to("cpu"), T.NormalizeFeatures()(data)):
        assert twin.graph is data.graph and twin.graph.is_undirected
    for twin in (data.clone(), copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert_same(twin.graph, data.graph)
        assert twin.graph.is_undirected
    batch = Batch.from_data_list([data, following()])
    assert isinstance(batch.graph, list) and batch.graph[0] is data.graph
    assert_same(as_graph(batch), batch_graphs(batch.graph))
    assert batch.to_data_list()[1].graph is batch.graph[1]
    assert_same(pickle.loads(pickle.dumps(batch)).graph[1], batch.graph[1])


def test_a_graph_by_a_formula_follows_too():
    graph = causal(4)
    data = follow_edges(Data(x=torch.rand(4, 1), edge_index=graph.edge_index()), graph)
    assert data.graph is graph and T.NormalizeFeatures()(data).graph is graph
    assert T.AddSelfLoops()(data).graph.num_edges == graph.num_edges + 4


def test_a_graph_that_is_set_stays():
    data = following()
    data.graph = causal(6)
    assert T.AddSelfLoops()(data).graph == causal(6)
    assert as_graph(Batch.from_data_list([data, data])) == causal([6, 6])
    del data.graph
    assert torch.equal(data.graph.edge_index(), EDGES) and "graph" not in data
    del data.edge_index
    assert not hasattr(data, "graph") and data.get("graph", 3) == 3


def test_it_is_found_by_every_way_of_pyg():
    data = following()
    assert isinstance(data, GraphData) and isinstance(data, Data) and data.validate()
    assert "graph" in data and data["graph"] is data.graph is data.get("graph") is getattr(data, "graph", None)
    assert data.get("x") is data.x and data.get("y") is None and data["x"] is data.x
    with pytest.raises(AttributeError):
        GraphData(x=torch.rand(2, 1)).graph  # noqa: B018


def test_what_leaves_a_data_has_its_graph():
    for data in (following(), T.AddSelfLoops()(following()), Batch.from_data_list([following(), following()])):
        assert "graph" in list(data.keys()) and len(data.keys()) == len(set(data.keys()))
        graphs = [data.to_dict()["graph"], data.to_namedtuple().graph, dict(data("x", "graph"))["graph"]]
        graphs += [Data.from_dict(data.to_dict()).graph]
        for graph in graphs:
            assert torch.equal(as_graph(graph).edge_index(), data.edge_index)
    again = GraphData.from_dict(following().to_dict())
    assert T.AddSelfLoops()(again).graph.num_edges == 11  # it follows still
    data.graph = causal(12)
    assert data.keys().count("graph") == 1 and data.to_dict()["graph"] is data.to_namedtuple().graph is data.graph
    assert "graph" not in GraphData(x=torch.rand(2, 1)).to_dict()


def test_edges_that_are_gone():
    data = following()
    del data.edge_index
    assert data.graph.num_edges == 5  # they are in the graph alone
    data.x = data.x[:3]
    with pytest.raises(ValueError, match=r"is that of 6 nodes, there are 3; set its edge_index"):
        data.graph  # noqa: B018


def test_compiled_functions_read_it():
    def degrees(data):
        return as_graph(data.graph, data.x.size(0)).degrees()

    for data in (following(), Batch.from_data_list([following(), following()])):
        torch.compiler.reset()
        found = torch.compile(degrees, backend="eager", fullgraph=True)(data)
        assert torch.equal(found, degrees(data))
        changed = T.AddSelfLoops()(data)
        assert torch.equal(torch.compile(degrees, backend="eager")(changed), degrees(changed))


def test_a_dataset_of_them(tmp_path):
    file = tmp_path / "data.pt"
    InMemoryDataset.save([following(), following(EDGES.flip(0))], file)
    dataset = InMemoryDataset()
    dataset.load(file)
    assert isinstance(dataset[1], GraphData) and torch.equal(dataset[1].graph.edge_index(), EDGES.flip(0))
    assert T.AddSelfLoops()(dataset[1]).graph.num_edges == 11


def test_another_class_of_data_keeps_its_graph():
    class Own(Data):
        pass

    data = follow_edges(Own(x=torch.rand(6, 1), edge_index=EDGES), EdgeListGraph(EDGES, 6))
    assert type(data) is Own and torch.equal(data.graph.edge_index(), EDGES)


# Batches of all kinds of graphs ---------------------------------------------------------------------------------------


def plain(num_nodes=6):
    return Data(x=torch.rand(num_nodes, 2), edge_index=EDGES, edge_attr=torch.rand(5, 3), graph=causal(num_nodes))


def was_set():
    return Complete()(following())


def made():
    return GlobalNodes([0])(following(EDGES.flip(0)))


OF_ALL_KINDS = {"follows": following, "set": was_set, "made": made, "plain": plain}
ORDERS = [*permutations(OF_ALL_KINDS, 2), tuple(OF_ALL_KINDS), tuple(reversed(OF_ALL_KINDS))]


@pytest.mark.parametrize("kinds", ORDERS, ids="-".join)
def test_examples_of_all_kinds_make_a_batch(kinds):
    examples = [OF_ALL_KINDS[kind]() for kind in kinds]
    (batch,) = DataLoader(examples, batch_size=len(examples))
    for one in (
        batch,
        batch.to("cpu"),
        copy.copy(batch),
        copy.deepcopy(batch),
        batch.clone(),
        pickle.loads(pickle.dumps(batch)),
    ):
        assert_same(as_graph(one).normal_form(), batch_graphs([example.graph for example in examples]))
        for example, back in zip(examples, one.to_data_list(), strict=True):
            assert_same(as_graph(back).normal_form(), example.graph)
            assert back.keys() == example.keys()
    assert isinstance(batch.graph, list) and "graph" in batch and "graph_of_edges" not in batch


@pytest.mark.parametrize("kinds", ORDERS, ids="-".join)
def test_examples_out_of_a_batch_notice_changes(kinds):
    batch = Batch.from_data_list([OF_ALL_KINDS[kind]() for kind in kinds])
    for kind, example in zip(kinds, batch.to_data_list()):
        check_notices(kind, example, T.AddSelfLoops()(example))


def check_notices(kind, example, changed):
    """A plain Data gives what it has to those who read `graph`; as a graph it notices changes all the same."""
    read = (lambda data: data.graph) if isinstance(example, GraphData) else as_graph
    if kind == "follows":
        assert torch.equal(read(changed).edge_index(), changed.edge_index)
    elif kind == "made":
        with pytest.raises(ValueError, match="have changed since 'graph' was made"):
            read(changed)
    else:
        assert read(changed) == example.graph


def test_a_mixed_batch_follows_its_edges():
    batch = Batch.from_data_list([was_set(), following(), was_set()])
    kept = batch.graph
    batch.edge_index = torch.cat([batch.edge_index, torch.tensor([[11, 0], [11, 1]])], 1)
    found = batch.graph
    assert found[0] is kept[0] and found[2] is kept[2]
    assert torch.equal(found[1].edge_index(), torch.cat([EDGES, torch.tensor([[5], [5]])], 1))
    assert_same(as_graph(pickle.loads(pickle.dumps(batch))), as_graph(found))
    assert Data.from_dict(batch.to_dict()).graph[1].num_edges == 6
    batch.edge_index = torch.tensor([[0], [7]])
    with pytest.raises(ValueError, match="edges cross from one example"):
        batch.graph  # noqa: B018
    del batch.edge_index
    assert_same(as_graph(batch.graph), as_graph(kept))
    mixed = Batch.from_data_list([was_set(), made()])
    mixed.edge_index = mixed.edge_index[:, :-1]
    with pytest.raises(ValueError, match="have changed since 'graph' was made"):
        mixed.graph  # noqa: B018
    part = Batch.from_data_list([was_set(), following()])
    part.x, part.batch, part.ptr = part.x[:3], part.batch[:3], None
    with pytest.raises(ValueError, match="2 graphs, which not all follow .* not known any more"):
        part.graph  # noqa: B018


def test_global_nodes_on_a_mixed_batch_depend_on_its_edges():
    batch = GlobalNodes([0])(Batch.from_data_list([was_set(), following()]))
    assert batch.graph.num_examples == 2
    with pytest.raises(ValueError, match="have changed since 'graph' was made"):
        T.AddSelfLoops()(batch).graph  # noqa: B018


def test_batches_leave_out_and_follow_the_graph():
    for make in (following, was_set, made):
        (batch,) = DataLoader([make(), make()], batch_size=2, exclude_keys=["graph"])
        assert "graph" not in batch and "graph" not in batch.to_dict() and "graph" not in batch[0]
        assert torch.equal(as_graph(batch).edge_index(), batch.edge_index)
        (batch,) = DataLoader([make(), make()], batch_size=2, follow_batch=["graph"])
        assert torch.equal(batch.graph_batch, torch.tensor([0, 1])) and len(batch.graph) == 2


def test_a_dataset_of_all_kinds(tmp_path):
    kinds = ("follows", "set", "made")
    InMemoryDataset.save([OF_ALL_KINDS[kind]() for kind in kinds], tmp_path / "data.pt")
    dataset = InMemoryDataset()
    dataset.load(tmp_path / "data.pt")
    for kind, example in zip(kinds, dataset):
        assert_same(example.graph, OF_ALL_KINDS[kind]().graph)
        check_notices(kind, example, T.AddSelfLoops()(example))


def test_all_kinds_move_and_are_saved():
    for kind in ("follows", "made"):
        data = OF_ALL_KINDS[kind]()
        moved = data.clone().to("meta")
        assert moved._store["graph"].device.type == "meta" and moved._store["graph"].of_edges.device.type == "meta"
        for save, load in ((data, lambda x: x), (data.to_dict(), GraphData.from_dict)):
            file = io.BytesIO()
            torch.save(save, file)
            file.seek(0)
            again = load(torch.load(file, weights_only=isinstance(save, dict)))
            assert_same(again.graph, data.graph)
            check_notices(kind, again, T.AddSelfLoops()(again))


def in_old_form(data):
    """As version 0.1 kept the graph: what follows the edges under a name of its own."""
    kept = data._store._mapping.pop("graph")
    kept = kept if isinstance(kept, list) else [kept]
    of_edges, graphs = [graph.of_edges for graph in kept], [graph.graph for graph in kept]
    is_list = "ptr" in data._store
    data._store._mapping["graph_of_edges"] = of_edges if is_list else of_edges[0]
    if not kept[0].follows:
        data._store._mapping["graph"] = graphs if is_list else graphs[0]
    for of_names in (data._slice_dict, data._inc_dict) if is_list else ():
        of_names["graph_of_edges"] = of_names["graph"] if not kept[0].follows else of_names.pop("graph")
    return data


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("kind", ["follows", "made"])
def test_files_of_the_old_form(kind, batched):
    make = OF_ALL_KINDS[kind]
    make = (lambda: Batch.from_data_list([OF_ALL_KINDS[kind]() for _ in range(2)])) if batched else make
    wanted, old = make(), in_old_form(make())
    state = dict(old._store._mapping)
    for again in [pickle.loads(pickle.dumps(old))] + ([] if batched else [GraphData.from_dict(state)]):
        parts = [(wanted, again), *(zip(wanted.to_data_list(), again.to_data_list()) if batched else ())]
        for one, of_old in parts:
            assert "graph_of_edges" not in of_old and "graph" in of_old
            assert_same(as_graph(of_old.graph), as_graph(one.graph))
            check_notices(kind, of_old, T.AddSelfLoops()(of_old))


def test_compiled_functions_read_mixed_batches():
    def degrees(data):
        return as_graph(data.graph, data.x.size(0)).degrees()

    for data in (Batch.from_data_list([was_set(), following()]), made()):
        torch.compiler.reset()
        found = torch.compile(degrees, backend="eager", fullgraph=True)(data)
        assert torch.equal(found, degrees(data))
