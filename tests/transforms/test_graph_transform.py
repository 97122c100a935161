"""What every transform of the package does alike: a copy, batches, a one-line repr, refusals."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.transforms import AddSelfLoops, Compose

from graphattn.graphs import as_graph, causal
from graphattn.transforms import Banded, Causal, Complete, Edges, Expander, GlobalNodes, Grid
from graphattn.transforms.graph_transform import count_nodes, present_graph

TRANSFORMS = {
    "Complete()": Complete(),
    "Causal()": Causal(),
    "Banded(before=2, after=1, dilation=1)": Banded(2, 1),
    "Grid(sides=None, before=1, after=None, dilation=1, border='clip')": Grid(),
    "GlobalNodes([0])": GlobalNodes(),
    "Expander(degree=2, seed=0, add=False)": Expander(2),
    "Edges(is_undirected=False)": Edges(),
}
BOTH_WAYS = [[0, 1], [1, 0]]


def example(rows, columns):
    """A grid that also has edges, so that every transform finds what it needs."""
    num_nodes = rows * columns
    return Data(
        x=torch.rand(num_nodes, 2), sides=(rows, columns), edge_index=torch.tensor(BOTH_WAYS), graph=causal(num_nodes)
    )


@pytest.mark.parametrize("integer", [np.int64, np.uint8, torch.tensor])
def test_integers_of_numpy_and_torch(integer):
    one, two, three = integer(1), integer(2), integer(3)
    pairs = [
        (Banded(two, one, one), Banded(2, 1, 1)),
        (Grid([two, three], one, two, one), Grid((2, 3), 1, 2, 1)),
        (Grid(np.array([2, 3]), torch.tensor([1, 0])), Grid((2, 3), (1, 0))),
        (GlobalNodes([one, two]), GlobalNodes([1, 2])),
        (GlobalNodes(torch.tensor([1, -2])), GlobalNodes([1, -2])),
        (Expander(two, seed=three), Expander(2, seed=3)),
    ]
    for found, wanted in pairs:
        data = example(2, 3)
        assert torch.equal(found(data).graph.mask(), wanted(data).graph.mask()) and repr(found) == repr(wanted)


@pytest.mark.parametrize("text", TRANSFORMS)
def test_repr(text):
    assert repr(TRANSFORMS[text]) == text


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=repr)
def test_the_data_given_is_left_alone(transform):
    data = example(2, 3)
    changed = transform(data)
    assert data.graph == causal(6) and changed is not data
    assert changed.x is data.x and changed.graph.shape == (6, 6)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=repr)
def test_a_batch_gets_the_graphs_of_its_examples_side_by_side(transform):
    examples = [example(2, 3), example(1, 2), example(3, 3)]
    batched = transform(Batch.from_data_list(examples)).graph
    assert batched.sizes == ((6, 6), (2, 2), (9, 9)) and batched.num_examples == 3
    mask = torch.block_diag(*[transform(data).graph.mask().int() for data in examples]).bool()
    assert torch.equal(batched.mask(), mask)


@pytest.mark.parametrize("transform", [Complete(), Causal(), Banded(1, 1)], ids=repr)
def test_a_batch_of_sequences_has_no_edge_list(transform):
    batch = Batch.from_data_list([Data(x=torch.rand(1_000_000, 1)), Data(x=torch.rand(3, 1))])
    graph = transform(batch).graph
    assert graph.sizes == ((1_000_000, 1_000_000), (3, 3)) and graph.device is None


def test_they_compose():
    data = Compose([Banded(1, 0), GlobalNodes([-1])])(Data(x=torch.rand(5, 1)))
    expected = [[query - 1 <= key <= query or key == 4 or query == 4 for key in range(5)] for query in range(5)]
    assert data.graph.mask().tolist() == expected


@pytest.mark.filterwarnings("ignore:Unable to accurately infer")  # PyG's own word on a Data without nodes
def test_count_nodes():
    assert count_nodes(Data(x=torch.rand(4, 1))) == 4
    assert count_nodes(Batch.from_data_list([Data(x=torch.rand(4, 1)), Data(x=torch.rand(0, 1))])) == (4, 0)
    with pytest.raises(TypeError, match=r"got HeteroData\); for HeteroData, set the graph of each relation"):
        count_nodes(HeteroData())
    with pytest.raises(ValueError, match=r"the number of nodes of .* is unknown; set 'x' or 'num_nodes'"):
        count_nodes(Data())


def test_a_stale_graph_is_named():
    data = Data(x=torch.rand(3, 1), graph=causal(5))
    with pytest.raises(
        ValueError, match=r"joins 5 queries to 5 keys, the data has 3 nodes; was it cut \(Data.subgraph\)"
    ):
        present_graph(data)
    with pytest.raises(ValueError, match=r"has neither a graph nor an edge_index; set one first"):
        present_graph(Data(x=torch.rand(3, 1)))


@pytest.mark.parametrize("has_edge_graph", [True, False], ids=["Edges", "edge_index"])
@pytest.mark.parametrize("add", [GlobalNodes([1]), Expander(2, add=True)], ids=repr)
def test_what_was_added_to_edges_is_refused_once_they_change(add, has_edge_graph):
    data = Data(x=torch.rand(4, 1), edge_index=torch.tensor([[2, 0, 2], [1, 3, 0]]))
    data = add(Edges()(data) if has_edge_graph else data)
    batch = Batch.from_data_list([data, data])
    assert as_graph(data) is data.graph and as_graph(batch).sizes == ((4, 4), (4, 4))
    assert add(data).graph.num_edges == data.graph.num_edges  # again on top
    changed = [AddSelfLoops()(data), AddSelfLoops()(batch), data.subgraph(torch.tensor([0, 1, 2]))]
    changed += [Batch.from_data_list([changed[0], data]), AddSelfLoops()(add(add(data)))]
    for stale in changed:
        with pytest.raises(ValueError, match="have changed since .* apply the transforms that change edge_index first"):
            as_graph(stale)
        assert Complete()(stale).graph.num_edges >= 9  # another one instead
    again = add(Edges()(changed[0])).graph
    assert torch.equal(again.mask(), data.graph.mask() | torch.eye(4, dtype=torch.bool))
