"""Where the library is missing, damaged, or of other sources: everything works, and says what it lacks."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphattn.kernels.native import build
from graphattn.kernels.native.library import library, loop, why_not_native

ATTEND = """
import warnings
import torch
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import graphattn
    from graphattn.graphs import EdgeListGraph
    from graphattn.testing import loop_attention
    edges = [(3, 0), (1, 0), (1, 2), (0, 2), (3, 2), (1, 3)] * 20
    query, key, value = (torch.randn(4, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    graph = EdgeListGraph(torch.tensor(edges).t(), 4)
    out = graphattn.attend(query, key, value, graph)
    right = loop_attention(query, key, value, edges=edges)[0]
    assert torch.allclose(out, right), (out, right)
    cotangent = torch.randn_like(out)
    for ours, theirs in zip(*(torch.autograd.grad(x, (query, key, value), cotangent) for x in (out, right))):
        assert torch.allclose(ours, theirs)
    choice = graphattn.choose_kernel(graph, query, key, value)
    print(choice.kernel)
    print(choice)
slow = [str(one.message) for one in caught if "graphattn is slow here" in str(one.message)]
assert len(slow) == 1, slow
print(slow[0])
"""


def attend_with(path) -> str:
    environment = os.environ | {"GRAPHATTN_LOOPS": str(path)}
    done = subprocess.run([sys.executable, "-c", ATTEND], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_library(tmp_path):
    said = attend_with(tmp_path / "nowhere.so")
    assert said.startswith("edges_torch")
    assert "nowhere.so' is missing" in said and "build.py` makes it" in said
    assert said.count("the loops in C cannot be loaded") >= 2  # of edges_cpu, and the warning


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF" + bytes(100)])
def test_a_file_that_is_no_library(content, tmp_path):
    (tmp_path / "loops.so").write_bytes(content)
    assert "the loops in C cannot be loaded" in attend_with(tmp_path / "loops.so")


def test_a_library_of_something_else():
    other = next(Path(sys.modules["torch"].__file__).parent.glob("lib/libc10.*"))
    assert "the loops in C cannot be loaded" in attend_with(other)


def test_a_library_of_other_sources(tmp_path):
    content = (build.HERE / build.library_name()).read_bytes()
    digest = build.sources_digest().encode()
    assert digest in content
    (tmp_path / "loops.so").write_bytes(content.replace(digest, b"s" + b"0" * 16))
    assert "was compiled from other sources" in attend_with(tmp_path / "loops.so")


def test_the_library_is_there():
    assert why_not_native() is None
    assert library().sources().decode() == build.sources_digest()
    assert (
        loop("pairs_descend").value
        == ctypes.cast(getattr(library(), "pairs_descend" + library().level().decode()), ctypes.c_void_p).value
    )
