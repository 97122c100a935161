"""The whole command on tiny sizes: every peer passes its check and stands in the table."""

import json

from benchmarks import edges

SMALL = ["--nodes=30", "--edges=90", "--heads=2", "--dim=4", "--edge-dim=3"]
TINY = [*SMALL, "--large-nodes=40", "--large-edges=80", "--leaves=50", "--rounds=1"]


def test_table(tmp_path, capsys):
    edges.main([*TINY, "--two-way", "--no-memory", "--out", str(tmp_path)])
    table = (tmp_path / "edges.md").read_text()
    assert table == capsys.readouterr().out
    rows = json.loads((tmp_path / "edges.json").read_text())["rows"]
    assert {row["peer"] for row in rows} == {
        "graphattn",
        "PyG TransformerConv",
        "plain torch",
        "dense SDPA",
        "PyG GATConv",
        "PyG GATv2Conv",
        "reading keys and values",
        "reading, then copying them",
    }
    assert len(rows) == 38
    assert all(row["ratio"] == 1 for row in rows if row["peer"] == "graphattn")


def test_sweep_draws_a_picture(tmp_path):
    edges.main([*TINY, "--sweep", "--largest", "30000", "--no-memory", "--out", str(tmp_path)])
    sizes = {row["size"] for row in json.loads((tmp_path / "edges_sweep.json").read_text())["rows"]}
    assert sizes == {10_000, 31_623}
    assert (tmp_path / "edges_sweep.png").stat().st_size > 5000


def test_only(tmp_path):
    edges.main([*TINY, "--only", "no such work", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "edges.json").read_text())["rows"] == []
