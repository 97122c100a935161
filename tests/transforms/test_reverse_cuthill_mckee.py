import torch
from torch_geometric.data import Batch, Data

from graphattn.graphs import EdgeListGraph
from graphattn.transforms import ReverseCuthillMcKee


def shuffled_grid(rows, columns):
    """Edges of a grid, in one direction, its nodes numbered at random."""
    number = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(0)).view(rows, columns)
    right = torch.stack([number[:, :-1].flatten(), number[:, 1:].flatten()])
    down = torch.stack([number[:-1].flatten(), number[1:].flatten()])
    return torch.cat([right, down], dim=1)


def bandwidth(edge_index):
    return (edge_index[0] - edge_index[1]).abs().max().item()


def test_a_long_grid_becomes_a_narrow_band():
    data = Data(edge_index=shuffled_grid(40, 5), num_nodes=200)
    assert bandwidth(data.edge_index) > 100
    assert bandwidth(ReverseCuthillMcKee()(data).edge_index) <= 6


def test_the_edges_of_the_graph_count():
    edges = shuffled_grid(40, 5)
    data = Data(edge_index=torch.randint(200, (2, 300)), graph=EdgeListGraph(edges, 200), num_nodes=200)
    assert bandwidth(ReverseCuthillMcKee()(data).graph.edge_index()) <= 6


def test_examples_of_a_batch_stay_apart():
    batch = Batch.from_data_list([Data(edge_index=shuffled_grid(9, 2), num_nodes=18) for _ in range(2)])
    batch = ReverseCuthillMcKee()(batch)
    assert all(bandwidth(data.edge_index) <= 3 for data in batch.to_data_list())
    assert all(order.sort().values.tolist() == list(range(18)) for order in batch.node_order.split(18))
