import sys

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn import EdgeListGraph
from graphattn.distributed import placing
from graphattn.transforms import MetisOrder


def shuffled_grid(rows, columns):
    number = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(0)).view(rows, columns)
    right = torch.stack([number[:, :-1].flatten(), number[:, 1:].flatten()])
    down = torch.stack([number[:-1].flatten(), number[1:].flatten()])
    return torch.cat([right, down], dim=1)


def test_without_pymetis_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    with pytest.raises(ImportError, match="pip install pymetis"):
        MetisOrder(2)(Data(edge_index=shuffled_grid(3, 3), num_nodes=9))


def test_parts_are_ranges_with_few_edges_between_them():
    pytest.importorskip("pymetis")
    edges = shuffled_grid(30, 20)
    data = MetisOrder(4)(Data(edge_index=edges, x=torch.arange(600), num_nodes=600))
    graph = EdgeListGraph(torch.cat([data.edge_index, data.edge_index.flip(0)], 1), 600)
    found = placing(graph, 4, query_ptr=data.query_ptr)
    assert (
        found.halo_per_row < 0.2 < 1 < placing(EdgeListGraph(torch.cat([edges, edges.flip(0)], 1), 600), 4).halo_per_row
    )
    assert max(found.rows) < 1.1 * 150 and torch.equal(data.x, data.node_order)


def test_batches_and_wrong_numbers_are_refused():
    pytest.importorskip("pymetis")
    batch = Batch.from_data_list([Data(edge_index=shuffled_grid(3, 3), num_nodes=9)] * 2)
    with pytest.raises(ValueError, match="is a batch"):
        MetisOrder(2)(batch)
    with pytest.raises(ValueError, match="'num_parts' must be at least 1"):
        MetisOrder(0)
