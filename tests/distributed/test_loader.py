"""Batches of rows give what the whole graph gives; features are read row by row."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GridGraph
from graphattn.distributed import MappedRows, RowLoader
from graphattn.nn import ALiBi, GraphAttention

NODES = 40


def graphs():
    edges = torch.randint(NODES, (2, 90), generator=torch.Generator().manual_seed(2))
    return [EdgeListGraph(edges, NODES), BandedGraph(NODES, 2, 1), GridGraph((8, 5), 1), CompleteGraph([15, 25])]


@pytest.mark.parametrize("graph", graphs(), ids=lambda graph: type(graph).__name__)
@pytest.mark.parametrize("options", [{"batch_size": 7}, {"batch_size": 9, "shuffle": True}], ids=str)
def test_batches_of_rows_are_exact(graph, options):
    torch.manual_seed(0)
    x, edge_attr = torch.randn(NODES, 8), torch.randn(graph.num_edges, 3)
    layers = [GraphAttention(8, 4, 2, edge_dim=3, edge_bias=ALiBi(2)) for _ in range(2)]
    wanted = x
    for layer in layers:
        wanted = layer(wanted, graph, edge_attr)
    seen = []
    for batch in RowLoader(graph, num_layers=2, **options):
        found = x[batch.nodes]
        for layer, level in zip(layers, batch.levels):
            found = layer((found, found[level.targets]), level.graph, edge_attr[level.edges])
        torch.testing.assert_close(found, wanted[batch.rows])
        seen.append(batch.rows)
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(NODES))


def test_some_nodes_workers_and_samplers():
    graph, nodes = graphs()[0], torch.tensor([3, 17, 5, 30])
    whole = list(RowLoader(graph, 1, nodes, batch_size=2))
    assert [batch.rows.tolist() for batch in whole] == [[3, 17], [5, 30]]
    by_workers = list(RowLoader(graph, 1, nodes, batch_size=2, num_workers=1))
    assert all(torch.equal(a.nodes, b.nodes) for a, b in zip(whole, by_workers))
    shares = [DistributedSampler(nodes, 2, rank, shuffle=False) for rank in range(2)]
    rows = [
        batch.rows.tolist() for share in shares for batch in RowLoader(graph, 1, nodes, sampler=share, batch_size=2)
    ]
    assert rows == [[3, 5], [17, 30]]


def test_nodes_may_be_a_mask_or_any_integers():
    graph, mask = graphs()[0], torch.arange(NODES) % 9 == 3
    wanted = [batch.rows.tolist() for batch in RowLoader(graph, 1, mask.nonzero().flatten(), batch_size=2)]
    for nodes in (mask, [3, 12, 21, 30, 39], np.arange(3, 40, 9), torch.arange(3, 40, 9, dtype=torch.int32)):
        assert [batch.rows.tolist() for batch in RowLoader(graph, 1, nodes, batch_size=2)] == wanted
    whole_batches = torch.utils.data.BatchSampler(range(NODES), 7, drop_last=False)
    assert len(list(RowLoader(graph, 1, sampler=whole_batches, batch_size=None))) == 6
    assert len(list(RowLoader(graph, 1, []))) == 0


@pytest.mark.parametrize("nodes", [[3, NODES], [-1], [0.5], [[1, 2]], [True, False]], ids=str)
def test_nodes_that_are_none_are_refused(nodes):
    with pytest.raises(ValueError, match="'nodes' must be in(tegers| 0)"):
        RowLoader(graphs()[0], 1, nodes)


def test_levels_grow_by_what_is_seen():
    batch = next(iter(RowLoader(BandedGraph(1000, 2, 1), num_layers=3, batch_size=100)))
    assert [level.graph.num_keys for level in batch.levels] == [103, 102, 101]
    assert batch.levels[0].graph.num_queries == 102 and len(batch.nodes) == 103


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="as many keys as queries"):
        RowLoader(CompleteGraph(3, 4), 1)
    with pytest.raises(ValueError, match="'num_layers' must be at least 1"):
        RowLoader(CompleteGraph(3), 0)
    with pytest.raises(ValueError, match="got 'collate_fn'"):
        RowLoader(CompleteGraph(3), 1, collate_fn=list)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.float16], ids=str)
def test_features_on_disk_are_read_by_need(tmp_path, dtype):
    x = torch.arange(60).view(20, 3).to(dtype)
    MappedRows.save(tmp_path / "x.npy", x)
    rows = pickle.loads(pickle.dumps(MappedRows(tmp_path / "x.npy")))
    assert rows.shape == (20, 3) and len(rows) == 20
    for index in (torch.tensor([5, 2, 2]), slice(3, 9), torch.tensor([], dtype=torch.long), torch.arange(20) > 15):
        found = rows[index]
        assert torch.equal(found, x[index]) and found.dtype is dtype
        found.zero_()  # its own memory
    assert torch.equal(rows[:], x)


def test_files_that_torch_does_not_read_as_they_are(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(6, dtype=">f4").reshape(3, 2))
    assert torch.equal(MappedRows(path)[:], torch.arange(6.0).view(3, 2))
    for array in (np.array(["a", "b"]), np.arange(3).astype("datetime64[D]")):
        np.save(path, array)
        with pytest.raises(ValueError, match="must hold numbers that torch has too"):
            MappedRows(path)
    np.savez(tmp_path / "x.npz", np.arange(3))
    with pytest.raises(ValueError, match="must be a file of one array"):
        MappedRows(tmp_path / "x.npz")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="must be a file of NumPy"):
        MappedRows(path)
    with pytest.raises(TypeError, match="NumPy has no bfloat16"):
        MappedRows.save(path, torch.ones(2, dtype=torch.bfloat16))
