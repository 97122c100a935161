import platform
import subprocess
import sys

import pytest

from graphattn.kernels.native import build
from graphattn.kernels.native.library import level, why_not_native
from tests.sanitized import indices, mapped, maps, messages, norms

LEVELS = build.X86_LEVELS if platform.machine().lower() in ("x86_64", "amd64") else []


@pytest.mark.parametrize("task", [indices, maps, norms, mapped, messages])
@pytest.mark.parametrize("seed", range(40))
def test_cases_pass_without_a_sanitizer_too(task, seed):
    task(seed)


@pytest.mark.parametrize("narrow", LEVELS)
def test_loops_for_narrower_registers(narrow):
    """Of levels below that of the processor, which all other tests run: four or eight numbers at a time, in 16 or 32 bytes."""
    if why_not_native() is not None or narrow >= level():
        pytest.skip("the processor runs it everywhere, or nowhere")
    command = [sys.executable, "-m", "tests.sanitized", "--cases", "60", f"--level={narrow}"]
    subprocess.run(command, check=True, capture_output=True)
