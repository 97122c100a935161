"""The whole command on tiny sizes: layers with the same weights agree, padded and ragged too."""

import json

import torch

from benchmarks import layers


def test_table(tmp_path):
    sizes = ["--medium=40", "--complete=9", "--sentences=4", "--longest=11", "--heads=2", "--dim=4"]
    layers.main([*sizes, "--rounds", "1", "--no-memory", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "layers.json").read_text())["rows"]
    assert len({row["work"] for row in rows}) == 6
    assert len(rows) == 2 * (3 + 3 + 2 + 2 + 2 + 2)


def test_padding_and_back():
    padding = layers.Padding([2, 3, 1])
    x = torch.randn(6, 4)
    assert padding.pad(x).shape == (3, 3, 4)
    assert torch.equal(padding.unpad(padding.pad(x)), x)


def test_lengths_are_evenly_spread():
    assert layers.spread(3, 5, 9) == [5, 7, 9]
