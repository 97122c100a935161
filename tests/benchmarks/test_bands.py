"""The whole command on tiny sizes."""

import json

from benchmarks import bands


def test_table(tmp_path):
    sizes = ["--nodes=90", "--window=8", "--side=7", "--reach=1", "--long-window=5", "--lengths", "60", "120"]
    bands.main([*sizes, "--rounds", "1", "--no-memory", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "bands.json").read_text())["rows"]
    assert len(rows) == 2 * (3 + 3 + 1 + 1)
    assert "kernel '" in rows[0]["work"]
    assert "forward + backward, 120 nodes: " in (tmp_path / "bands.md").read_text()
