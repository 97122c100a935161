"""How the loops are compiled: without the interpreter's lock, once, and kept on disk."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from numba import njit

from graphattn.kernels.vectors import FASTMATH


def digest_of_sources() -> str:
    here = Path(__file__).parent
    sources = (path.read_bytes() for path in sorted([*here.glob("edges_cpu_*.py"), here / "vectors.py"]))
    return sha256(b"".join(sources)).hexdigest()[:16]


def compiled(function: Callable) -> Callable:
    """`function` in machine code, made at its first call by a process and found on disk by the next.

    Numba's cache looks at the file of the function alone, not at the files of what it calls; the digest in the name, by
    which the cache finds it, stands for all of them.
    """
    function.__qualname__ += "_" + digest_of_sources()
    return njit(fastmath=FASTMATH, nogil=True, cache=True, error_model="numpy")(function)
