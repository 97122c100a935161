"""A node attends to itself and the nodes before it."""

import torch
from torch_geometric.data import Data

from graphattn.transforms import Causal


def test_causal():
    graph = Causal()(Data(x=torch.rand(4, 2))).graph
    assert graph.mask().tolist() == [[key <= query for key in range(4)] for query in range(4)]
