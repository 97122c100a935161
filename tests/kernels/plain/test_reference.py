import torch

from graphattn import EdgeListGraph
from graphattn.kernels.plain.reference import dense_places


def test_places_of_repeated_edges():
    graph = EdgeListGraph(torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0]]), 2)
    assert dense_places(graph, torch.device("cpu")).tolist() == [
        [[-1, 0], [-1, 2], [-1, 3]],
        [[1, -1], [-1, -1], [-1, -1]],
    ]


def test_places_of_no_edges():
    graph = EdgeListGraph(torch.empty(2, 0, dtype=torch.long), 2, 3)
    assert dense_places(graph, torch.device("cpu")).eq(-1).all()
