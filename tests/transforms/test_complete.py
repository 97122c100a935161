"""Every node of an example attends to every node of it."""

import torch
from torch_geometric.data import Data

from graphattn.graphs import CompleteGraph
from graphattn.transforms import Complete


def test_complete():
    graph = Complete()(Data(x=torch.rand(3, 2), graph="anything")).graph
    assert graph == CompleteGraph(3) and graph.mask().tolist() == [[True] * 3] * 3


def test_no_nodes():
    assert Complete()(Data(x=torch.rand(0, 2))).graph.shape == (0, 0)
