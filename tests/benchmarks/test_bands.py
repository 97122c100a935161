"""The whole command on tiny sizes."""

import json

from benchmarks import bands


def test_table(tmp_path):
    sizes = ["--nodes=90", "--window=8", "--side=7", "--reach=1", "--union-nodes=200", "--bias-nodes=40"]
    sizes += ["--long-window=5"]
    options = ["--lengths", "60", "120", "--rounds", "1", "--no-memory", "--no-flex", "--out", str(tmp_path)]
    bands.main([*sizes, *options])
    rows = json.loads((tmp_path / "bands.json").read_text())["rows"]
    assert len(rows) == 2 * (3 + 3 + (3 + 3) + 6 * 3 + 1 + 1)
    assert "kernel '" in rows[0]["work"]
    text = (tmp_path / "bands.md").read_text()
    assert "forward + backward, 120 nodes: " in text
    assert "union, forward + backward: " in text
