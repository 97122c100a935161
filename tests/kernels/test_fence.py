"""Compiled loops touch no byte that is not theirs: see fence.py."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="fences are made by mprotect, which Windows does not have")
LAST_CALLS = 3  # that are shown where a process dies
READ_BEYOND = """
import numpy as np
from tests.kernels.fence import fenced
numbers = fenced(7, np.dtype(np.float32), at_end={at_end})
numbers[:] = 1
print("inside", numbers.sum(), flush=True)
beyond = np.lib.stride_tricks.as_strided(numbers[{start}:], (8,), ({step},))
print("beyond", beyond.sum())
"""


def run(*arguments):
    return subprocess.run([sys.executable, "-W", "ignore", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("side", ["end", "start"])
def test_loops_stay_inside_their_arrays(side):
    found = run("-m", "tests.kernels.fence", side)
    last = "\n".join(found.stdout.splitlines()[-LAST_CALLS:])
    assert found.returncode == 0, f"process died (exit status {found.returncode}) after\n{last}\n{found.stderr[-2000:]}"
    assert int(last.splitlines()[-1].split()[0]) > 1000  # calls that ran


@pytest.mark.parametrize("at_end, start, step", [(True, 0, 4), (False, 6, -4)])
def test_a_fence_ends_the_process(at_end, start, step):
    found = run("-c", READ_BEYOND.format(at_end=at_end, start=start, step=step))
    assert "inside 7.0" in found.stdout and "beyond" not in found.stdout
    assert found.returncode < 0
