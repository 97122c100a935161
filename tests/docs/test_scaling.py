"""Figures of docs/scaling.md that follow from formulas."""

from pathlib import Path

import pytest

from graphattn import BandedGraph, GridGraph, causal
from graphattn.distributed import Traffic, placing

TEXT = (Path(__file__).parent.parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
BYTES = 4 * (32 + 32) * 2  # a key and a value: 4 heads of 32 channels, bfloat16


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
