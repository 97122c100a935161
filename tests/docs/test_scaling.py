"""The page on many processes: its lines run, its figures that follow from formulas are right."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch_geometric.data import Data

from graphattn import BandedGraph, GridGraph, causal
from graphattn.distributed import MappedRows, Traffic, placing
from graphattn.nn import EncoderLayer, GraphAttention

TEXT = (Path(__file__).parent.parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
BYTES = 4 * (32 + 32) * 2  # a key and a value: 4 heads of 32 channels, bfloat16
# Behind a comment stands a script that is shown; it has a test of its own.
START, *BLOCKS = re.findall(r"(?<!-->\n)```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """The only process of a group, in a folder with the files that the page reads."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    edges = np.random.default_rng(0).integers(0, 50, (2, 300))
    np.save("edges_0.npy", edges[:, :100])
    np.save("edges_1.npy", edges[:, 100:])
    MappedRows.save("features.npy", torch.randn(50, 8))
    MappedRows.save("edge_attr.npy", torch.randn(300, 3))
    yield {"torch": torch, "num_nodes": 50, "x": torch.randn(50, 8), "y": torch.randint(8, (50,)), "edges": edges}
    dist.destroy_process_group()


def test_the_blocks_run(alone):
    alone |= {"whole_graph": BandedGraph(50, 2, 2), "model": EncoderLayer(8, heads=2)}
    exec(START, alone)
    assert all(weight.grad is not None for weight in alone["model"].parameters())
    alone |= {
        "data": Data(pos=torch.rand(50, 2), edge_index=torch.from_numpy(alone["edges"])),
        "out": torch.randn(50, 8),
    }
    alone |= {"layers": [GraphAttention(8, 8), GraphAttention(8, 8)], "train_nodes": torch.arange(40)}
    alone |= {"criterion": torch.nn.functional.cross_entropy}
    files, order, batches = BLOCKS
    exec(files, alone)
    assert torch.equal(alone["x"], alone["MappedRows"]("features.npy")[:]) and alone["edge_attr"].shape == (300, 3)
    exec(order, alone)
    assert torch.equal(alone["before"], alone["out"][alone["data"].node_order.argsort()])
    alone["graph"] = BandedGraph(50, 2, 2)
    exec(batches, alone)
    assert alone["loss"].isfinite()


def figures(row):
    """The three cells behind the name of a row, as numbers of bytes."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row}")]
    units = {"MB": 1e6, "GB": 1e9}
    return [float(number) * units[unit] for number, unit in (cell.split() for cell in line.split(" | ")[1:4])]


@pytest.mark.parametrize(
    "row, graph",
    [
        ("band of 10 million tokens", BandedGraph(10**7, 512, 512)),
        ("volume 512 x 512 x 512", GridGraph((512,) * 3, 3)),
        ("causal, 1 million tokens", causal(10**6)),
    ],
)
def test_bytes_are_those_of_the_graphs(row, graph):
    for size, wanted in zip((8, 64, 512), figures(row)):
        assert max(placing(graph, size).halo) * BYTES == pytest.approx(wanted, rel=0.06)


def test_bytes_of_global_tokens_are_those_of_their_queries():
    hubs, edge = 16, Traffic(own=0, received=1024, sent=0, in_memory=0)
    for size, wanted in zip((8, 64, 512), figures("the same with 16 global tokens")):
        traffic = edge._replace(queries_sent=hubs * (size - 1))
        assert traffic.num_bytes(kv_heads=4, dim=32, itemsize=2) == pytest.approx(wanted, rel=0.06)
        assert f"{10**7 * (1 - 1 / size) * BYTES / 1e9:.1f}" in TEXT


def test_bytes_of_a_mesh_are_those_of_cubes():
    for size, wanted in zip((8, 64, 512), figures("mesh of a billion directed edges")):
        assert 6 * (1e9 / 14 / size) ** (2 / 3) * BYTES == pytest.approx(wanted, rel=0.06)


def test_keys_of_others_named_in_the_text():
    assert round(placing(GridGraph((512,) * 3, 3), 64).halo_per_row, 1) == 0.7
    assert round(placing(GridGraph((512,) * 3, 3), 512).halo_per_row, 1) == 6.0
