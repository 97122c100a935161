"""How the loops are compiled: without the interpreter's lock, once, and kept on disk."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from numba import njit

from graphattn.kernels.vectors import FASTMATH


def sources() -> list[Path]:
    """Every file with code that is compiled into the loops."""
    folder = Path(__file__).parent
    return sorted([*folder.glob("edges_cpu_*.py"), *folder.glob("banded_cpu_*.py"), folder / "vectors.py"])


def digest_of_sources() -> str:
    return sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()[:16]


def compiled(function: Callable) -> Callable:
    """`function` in machine code, made at its first call by a process and found on disk by the next.

    Numba's cache looks at the file of the function alone, not at the files of what it calls; the digest in the name, by
    which the cache finds it, stands for all of them.
    """
    function.__qualname__ += "_" + digest_of_sources()
    options = {"fastmath": FASTMATH, "nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the sources nor in the user's folder can a file be written
        return njit(**options)(function)
