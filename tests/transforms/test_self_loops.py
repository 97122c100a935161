import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn import BandedGraph, CompleteGraph, as_graph, causal
from graphattn.inputs import from_network, from_smiles, from_text
from graphattn.transforms import Edges, SelfLoops

EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 1, 0]])  # node 1 has a loop
ATTR = torch.tensor([[1.0], [2.0], [3.0], [4.0]])


def pairs(edge_index, attr=None):
    columns = edge_index.t().tolist()
    return (
        sorted(zip(map(tuple, columns), attr.flatten().tolist())) if attr is not None else sorted(map(tuple, columns))
    )


@pytest.mark.parametrize("fill, new", [(0.0, (0.0, 0.0)), (7.0, (7.0, 7.0)), ("mean", (3.0, 0.0))])
def test_edges_and_their_attributes(fill, new):
    data = SelfLoops(fill)(Data(edge_index=EDGES, edge_attr=ATTR, edge_weight=ATTR[:, 0], num_nodes=3))
    wanted = [((0, 0), new[0]), ((0, 1), 1.0), ((1, 0), 2.0), ((1, 1), 3.0), ((2, 0), 4.0), ((2, 2), new[1])]
    assert pairs(data.edge_index, data.edge_attr) == wanted
    assert data.edge_weight.tolist() == data.edge_attr.flatten().tolist()


def test_a_graph_follows_its_edges():
    given = Edges()(Data(x=torch.zeros(3, 1), edge_index=EDGES))
    data = SelfLoops()(given)
    assert data.graph.edge_index().equal(data.edge_index) and data.edge_index.size(1) == 6
    assert given.edge_index.size(1) == 4  # a copy is changed
    data.edge_index = data.edge_index[:, :1]
    assert data.graph.num_edges == 1


def test_another_graph_than_the_edges():
    data = Data(x=torch.zeros(3, 1), edge_index=EDGES)
    data.graph = causal(3) & ~BandedGraph(3, 0, 0)
    data = SelfLoops()(data)
    assert data.graph.mask().tolist() == causal(3).mask().tolist()
    assert pairs(data.edge_index) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2)]


def test_a_graph_alone():
    data = Data(x=torch.zeros(3, 1))
    data.graph = CompleteGraph(3)
    assert SelfLoops()(data).graph.mask().all()


def test_a_batch_and_its_examples():
    batch = Batch.from_data_list(
        [Data(x=torch.zeros(3, 1), edge_index=EDGES), Data(x=torch.zeros(2, 1), edge_index=EDGES[:, :2])]
    )
    batch = SelfLoops()(Edges()(batch))
    assert as_graph(batch).sizes == ((3, 3), (2, 2)) and as_graph(batch).num_edges == 6 + 4


def test_errors():
    with pytest.raises(ValueError, match="neither 'edge_index' nor 'graph'"):
        SelfLoops()(Data(x=torch.zeros(3, 1)))
    data = Data(x=torch.zeros(3, 1), edge_attr=ATTR)
    data.graph = CompleteGraph(3)
    with pytest.raises(ValueError, match="attributes of edges but no 'edge_index'"):
        SelfLoops()(data)


def test_option_of_networks():
    data = from_network(EDGES, num_nodes=3, self_loops=True)
    assert pairs(data.edge_index) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2)]
    assert data.graph.edge_index().equal(data.edge_index) and data.x.tolist() == [[2.0], [2.0], [0.0]]
    import networkx

    network = networkx.Graph([(0, 1, {"weight": 5.0})])
    data = from_network(network, edge_features="weight", self_loops=True, edge_index=False)
    assert pairs(data.graph.edge_index(), data.edge_attr) == [
        ((0, 0), 0.0),
        ((0, 1), 5.0),
        ((1, 0), 5.0),
        ((1, 1), 0.0),
    ]
    assert data.graph.is_symmetric


def test_option_of_molecules():
    pytest.importorskip("rdkit")
    plain, looped = from_smiles("CCO"), from_smiles("CCO", self_loops=True)
    assert looped.edge_index[:, :4].equal(plain.edge_index) and looped.edge_index[:, 4:].tolist() == [[0, 1, 2]] * 2
    assert looped.edge_attr[:4].equal(plain.edge_attr) and not looped.edge_attr[4:].any()
    assert looped.graph.mask().diagonal().all() and looped.graph.is_symmetric
    assert pairs(SelfLoops()(plain).edge_index) == pairs(looped.edge_index)


def test_texts_have_theirs():
    assert from_text("a b").graph.mask().diagonal().all()
