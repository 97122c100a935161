"""The whole command on tiny sizes: every model agrees with its peer in float64."""

import json

import pytest
import torch

from benchmarks import everyday
from benchmarks.measure import forward

SIZES = ["--molecules=3", "--cora=40", "--classes=3", "--sentences=4", "--channels=8", "--heads=2", "--edge-dim=3"]


def test_table(tmp_path):
    everyday.main([*SIZES, "--rounds", "1", "--no-memory", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "everyday.json").read_text())["rows"]
    assert len({row["work"] for row in rows}) == 8
    assert [row["peer"] for row in rows[:6]] == ["accelerated", "PyG", "torch's products alone"] * 2


@pytest.mark.parametrize("make", everyday.NETS.values(), ids=everyday.NETS.keys())
def test_every_model_has_a_layer_with_a_kernel(make):
    assert len(everyday.accelerate(make(8, 2, 3)).swapped) == 4


def test_dropout_is_on_in_training_alone():
    case = everyday.cora_case(40, 160, 30, 3)
    peer, inputs = case.peers["accelerated"], case.inputs
    assert torch.equal(forward(peer, inputs)(), forward(peer, inputs)())
    case.ready("forward + backward")
    assert not torch.equal(forward(peer, inputs)(), forward(peer, inputs)())


def test_molecules_are_chains_with_a_ring():
    edge_index, batch = everyday.molecules(128)
    assert len(batch) == 3008 and edge_index.size(1) == 2 * (3008 - 128 + 128)
    assert torch.equal(batch[edge_index[0]], batch[edge_index[1]])
