"""The whole command on tiny sizes, and that its peaks are those of what it holds."""

import json

from benchmarks import scale
from benchmarks.scale import Work, measure


def test_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scale, "measure", scale.measure_here)
    arguments = ["--sweep", "--least=200", "--largest=1000", "--heads=2", "--dim=4", "--rounds=1", "--threads=1"]
    scale.main([*arguments, "--out", str(tmp_path)])
    assert (tmp_path / "scale.md").read_text() == capsys.readouterr().out
    rows = json.loads((tmp_path / "scale.json").read_text())["rows"]
    assert [(row["num_edges"], row["dtype"], row["pass_"]) for row in rows] == [
        (size, dtype, pass_)
        for size in (200, 1000)
        for dtype in ("float32", "bfloat16")
        for pass_ in ("forward", "training")
    ]
    assert all(row["time"] > 0 and row["sorting"] > 0 for row in rows)


def test_a_sweep_ends_before_memory_does(tmp_path, capsys, monkeypatch):
    asked = []

    def found(work):
        asked.append(work.num_edges)
        return scale.Found(1.0, 1.0, 2000 * work.num_edges, 0, 0)

    monkeypatch.setattr(scale, "measure", found)
    scale.main(["--sweep", "--least=1000000", "--memory=10", "--out", str(tmp_path)])
    assert set(asked) == {1_000_000, 5_000_000}  # 1.9 and 9.3 GiB
    assert "10000000 edges would need 18.6 GiB" in capsys.readouterr().out


def test_bytes_are_those_of_what_is_held():
    work = Work(1_000_000, "float32", "forward", heads=4, dim=16, rounds=2, threads=1)
    forward = measure(work)
    mine, sorted_rows = 2 * 8, 8  # edge_index and the graph's copy, and columns with their places
    assert mine + sorted_rows <= forward.graph / work.num_edges < mine + sorted_rows + 4
    nodes = 20_000 * 4 * 16 * 4
    assert nodes <= forward.of_pass < nodes + 12 * work.num_edges  # nothing for an edge and a channel
    assert forward.peak >= forward.graph + 3 * nodes
