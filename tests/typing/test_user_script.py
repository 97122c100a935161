"""The types that the package ships, as a user's checker sees them."""

from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

SCRIPT = Path(__file__).with_name("user_script.py")
ROOT = SCRIPT.parents[2]
HEAD = """
import torch
from torch import Tensor
from graphattn import BandedGraph, CompleteGraph, as_graph, attend, attention_weights
from graphattn.nn import EncoderLayer, GraphAttention
x, graph = torch.ones(3, 2, 4), CompleteGraph(3)
"""
MISTAKES = {
    "CompleteGraph('9')": 'Argument 1 to "CompleteGraph" has incompatible type "str"',
    "CompleteGraph(2.5)": 'Argument 1 to "CompleteGraph" has incompatible type "float"',
    "BandedGraph(9, 1)": 'Missing positional argument "after"',
    "as_graph('edges')": 'Argument 1 to "as_graph" has incompatible type "str"',
    "attend(x, x, x, 'causal')": 'Argument 4 to "attend" has incompatible type "str"',
    "attend(x, x, x, graph, normaliser='softmax')": "No overload variant",
    "out: tuple[Tensor, Tensor] = attend(x, x, x, graph)": "Incompatible types in assignment",
    "attend(x, x, x, graph, edge_features=torch.ones(9, 2)).sum()": '"tuple[Tensor, Tensor]" has no attribute "sum"',
    "out, weights = GraphAttention(4, 4)(x, graph, return_attention_weights=True); weights.sum()": 'has no attribute "sum"',
    "pair: tuple[Tensor, Tensor] = GraphAttention(4, 4)(x, graph)": "Incompatible types in assignment",
    "attention_weights(x, x, graph).append(x)": '"Tensor" has no attribute "append"',
    "EncoderLayer(16, heads=4)(x, 7)": "incompatible type",
    "graph.allows('first', 'last')": "incompatible type",
    "graph.edges_index()": '"CompleteGraph" has no attribute "edges_index"',
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return f"--cache-dir={tmp_path_factory.mktemp('mypy_cache')}"


def check(path: Path, cache: str) -> tuple[str, int]:
    """What mypy says with its strictest options and none of ours, and its exit status."""
    options = ["--strict", "--ignore-missing-imports", "--follow-imports=silent", "--config-file="]
    out, err, status = api.run([*options, cache, str(path)])
    assert not err, err
    return out, status


def test_a_users_script_has_no_errors(monkeypatch, cache):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    out, status = check(SCRIPT, cache)
    assert status == 0, out


def test_mistakes_are_found(monkeypatch, tmp_path, cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    path = tmp_path / "mistakes.py"
    path.write_text(HEAD + "\n".join(MISTAKES) + "\n")
    first = HEAD.count("\n") + 1
    found, _ = check(path, cache)
    for number, (line, words) in enumerate(MISTAKES.items(), start=first):
        said = [text for text in found.splitlines() if text.startswith(f"{path.name}:{number}: ")]
        assert any(words in text for text in said), f"{line!r} should be {words!r} (got {said})"


def test_the_clean_packages_stay_clean(monkeypatch, cache):
    monkeypatch.chdir(ROOT)
    out, err, _ = api.run(["--config-file=pyproject.toml", cache])
    assert "source files" in out.splitlines()[-1], out + err  # "checked 205 source files", or no issues found in them
    clean = ("graphs", "nn", "inputs", "datasets", "viz", "transforms", "explain", "testing")
    errors = [line for line in out.splitlines() if ": error:" in line]
    own = [line for line in errors if line.startswith(tuple(f"graphattn/{name}/" for name in clean))]
    assert not own, "\n".join(own)
