import torch
from torch_geometric.data import Data

from graphattn.nn import LearnedPositions
from graphattn.transforms import AddDegrees


def test_counts_both_ways_up_to_the_largest():
    data = AddDegrees(2)(Data(edge_index=torch.tensor([[0, 1, 2, 3, 0], [3, 3, 3, 0, 0]]), num_nodes=5))
    assert data.degrees.tolist() == [[2, 2], [0, 1], [0, 1], [2, 1], [0, 0]]
    assert LearnedPositions((3, 3), 4)(data.degrees).shape == (5, 4)
