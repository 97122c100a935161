"""Thresholds from figures, and figures in the file of the kernels."""

import json
import shutil

import pytest

from benchmarks import choose_kernel
from benchmarks.crossovers import Point, in_lines, least_share, record
from graphattn.kernels.crossovers import FILE, read


@pytest.mark.parametrize(
    ("points", "share"),
    [
        ([Point(0.5, 1, 2), Point(0.1, 3, 1), Point(0.3, 2, 1)], 0.4),  # in any order
        ([Point(0.1, 3, 1), Point(0.2, 1, 1.1), Point(0.3, 3, 1), Point(0.5, 1, 2)], 0.4),  # noise is outvoted
        ([Point(0.1, 1, 2), Point(0.5, 1, 3)], None),
        ([Point(0.1, 2, 1), Point(0.5, 3, 1)], None),
        ([], None),
    ],
)
def test_least_share(points, share):
    assert least_share(points) == share


def test_figures_of_one_machine_and_command_replace_each_other(tmp_path):
    file = tmp_path / "crossovers.json"
    file.write_text(json.dumps({"tiles": {"about": "", "constants": {"least": 1}, "figures": [{"machine": "a"}]}}))
    for machine, number in (("b", 1), ("c", 2), ("b", 3)):
        record(file, "tiles", {"machine": machine, "command": "run", "ms": number})
    topic = json.loads(file.read_text())["tiles"]
    assert topic["constants"] == {"least": 1}
    assert [(x["machine"], x.get("ms")) for x in topic["figures"]] == [("a", None), ("c", 2), ("b", 3)]


def test_the_file_reads_as_it_is_written():
    text = FILE.read_text(encoding="utf-8")
    assert in_lines(json.loads(text)) + "\n" == text


def test_the_command_writes_where_it_is_told(tmp_path, capsys):
    file = tmp_path / "crossovers.json"
    shutil.copy(FILE, file)
    sizes = ["--largest", "16", "--heads", "1", "--dim", "4", "--rounds", "1"]
    choose_kernel.main([*sizes, "--only", "2 each side", "--write", "--out", str(tmp_path), "--file", str(file)])
    written = json.loads(file.read_text())["tiles and edges"]["figures"][-1]
    assert written["command"].startswith("python -m benchmarks.choose_kernel --largest 16")
    assert "--write" not in written["command"] and written["machine"]
    [figures] = written["graphs"].values()
    shares = figures.pop("share of tiles")
    assert shares.keys() == {"banded_cpu", "banded_torch"} and all(0 < share < 1 for share in shares.values())
    assert figures.keys() > {"edges_cpu", *shares} and all(len(times) == 2 for times in figures.values())
    assert read(file) == read()
    assert "least_share_of_tiles of banded_torch" in capsys.readouterr().out
