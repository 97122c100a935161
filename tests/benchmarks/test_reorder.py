"""The whole command on tiny sizes; how many tiles hold edges."""

import json

import pytest
import torch

from benchmarks import reorder
from graphattn.graphs import EdgeListGraph


def test_table(tmp_path):
    sizes = ["--nodes=300", "--neighbours=4", "--heads=2", "--dim=4"]
    reorder.main([*sizes, "--rounds", "1", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "reorder.json").read_text())["rows"]
    assert [row["peer"] for row in rows] == 2 * ["as given", "Hilbert", "Morton", "reverse Cuthill-McKee"]
    assert "Hilbert: " in (tmp_path / "reorder.md").read_text()


def test_neighbours_are_the_nearest():
    data = reorder.points(30, 3, 2)
    distances = torch.cdist(data.pos, data.pos)
    for query in range(30):
        keys = data.edge_index[0, data.edge_index[1] == query]
        assert set(keys.tolist()) == set(distances[query].argsort()[1:4].tolist())


def test_occupancy():
    edges = torch.tensor([[0, 127, 128, 299], [0, 1, 2, 140]])  # tiles (0, 0) twice, (0, 1), (1, 2) of 2 x 3
    share, mean = reorder.occupancy(EdgeListGraph(edges, 150, 300))
    assert (share, mean) == pytest.approx((3 / 6, 4 / 3))
