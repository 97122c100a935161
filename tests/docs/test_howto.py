"""Scripts of the pages on how to: run as their page says, by two processes."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


def printed_by_two(name):
    """torch's gloo may abort when a process ends (seen without this package too): what is printed counts, not the code."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(HOWTO / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    (line,) = re.findall(r"^2 processes: .*$", done.stdout, re.MULTILINE) or pytest.fail(done.stderr[-2000:])
    return line


def test_many_examples_on_two_processes():
    assert int(re.search(r"(\d+) %", printed_by_two("ddp.py"))[1]) >= 95


def test_one_graph_has_the_numbers_of_one_process_on_two(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    runpy.run_path(str(HOWTO / "one_graph.py"))
    alone, two = capsys.readouterr().out.strip(), printed_by_two("one_graph.py")
    assert two.removeprefix("2") == alone.removeprefix("1") and int(re.search(r"(\d+) %", two)[1]) >= 90
