"""Scripts of the pages on how to: run as their page says, by two processes."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


def printed_by_two(name, *arguments):
    """torch's gloo may abort when a process ends (seen without this package too): what is printed counts, not the code."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(HOWTO / name),
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return re.findall(r"^2 processes.*$", done.stdout, re.MULTILINE) or pytest.fail(done.stderr[-2000:])


def test_many_examples_on_two_processes():
    (line,) = printed_by_two("ddp.py")
    assert int(re.search(r"(\d+) %", line)[1]) >= 95


def test_one_graph_has_the_numbers_of_one_process_on_two(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    runpy.run_path(str(HOWTO / "one_graph.py"))
    alone, (two,) = capsys.readouterr().out.strip(), printed_by_two("one_graph.py")
    assert two.removeprefix("2") == alone.removeprefix("1") and int(re.search(r"(\d+) %", two)[1]) >= 90


def test_a_run_that_two_processes_began_goes_on_with_one(tmp_path, capsys, monkeypatch):
    began = printed_by_two("checkpoint.py", tmp_path / "run", 2)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    for folder in ("run", "whole"):  # the second is not cut off
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["checkpoint.py", str(tmp_path / folder), "4"])
        runpy.run_path(str(HOWTO / "checkpoint.py"))
    losses = [line.partition(", ")[2] for line in (*began, *capsys.readouterr().out.strip().splitlines())]
    assert losses[:4] == losses[4:] and [line[:7] for line in losses[:4]] == [f"epoch {n}" for n in range(1, 5)]
