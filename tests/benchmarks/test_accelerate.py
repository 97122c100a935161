"""The whole command on tiny sizes: accelerated models agree with PyG's in float64."""

import json

from benchmarks import accelerate


def test_table(tmp_path):
    sizes = ["--nodes=60", "--edges=200", "--channels=6", "--heads=2", "--dim=3", "--edge-dim=2", "--graphs=3"]
    accelerate.main([*sizes, "--rounds", "1", "--no-memory", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "accelerate.json").read_text())["rows"]
    assert [row["peer"] for row in rows] == ["accelerated", "PyG"] * 4
    assert len({row["work"] for row in rows}) == 4


def test_only_layers_with_a_kernel_are_in_the_models():
    for name, make in accelerate.NETS.items():
        report = accelerate.accelerate(make(6, 2, 3))
        assert len(report.swapped) == int(name.split(", ")[1][0]) and not report.left
