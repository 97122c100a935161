"""What `import graphattn` gives, and what it does not need."""

import subprocess
import sys

import pytest

import graphattn

PARTS = ["datasets", "explain", "inputs", "nn", "recipes", "transforms", "viz"]
# Nothing of this is there, as where only the required packages are installed.
PROGRAM = """
import sys
for name in ("matplotlib", "rdkit", "PIL", "sklearn"):
    sys.modules[name] = None
import graphattn
for name in {parts}:
    assert getattr(graphattn, name).__name__ == "graphattn." + name
"""


def test_every_part_is_there_without_what_is_optional():
    subprocess.run([sys.executable, "-c", PROGRAM.format(parts=PARTS)], check=True, timeout=120)


def test_parts_are_named():
    assert set(PARTS) <= set(dir(graphattn)) and set(graphattn.__all__) <= set(dir(graphattn))
    assert all(hasattr(graphattn, name) for name in graphattn.__all__)
    with pytest.raises(AttributeError, match="module 'graphattn' has no attribute 'pictures'"):
        graphattn.pictures  # noqa: B018
