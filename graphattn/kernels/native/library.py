"""The compiled loops: found beside this file, checked, and loaded once."""

import ctypes
import os
import warnings
from functools import cache
from pathlib import Path

from graphattn.kernels.native import build

COMPILE = f"`python {build.HERE / 'build.py'}`"


@cache
def library() -> ctypes.CDLL:
    """The library that was compiled from the sources beside it, or the one that the environment variable GRAPHATTN_LOOPS names.

    Raises:
        OSError: if it is not there, not for this machine, or of other sources.
    """
    path = Path(os.environ.get("GRAPHATTN_LOOPS") or build.HERE / build.library_name())
    if not path.exists():
        raise OSError(f"'{path}' is missing{why_not_built()}; with a C compiler {COMPILE} makes it")
    loaded = ctypes.CDLL(str(path))
    loaded.sources.restype = loaded.level.restype = ctypes.c_char_p
    if loaded.sources().decode() != build.sources_digest():
        raise OSError(f"'{path}' was compiled from other sources; {COMPILE} compiles it anew")
    return loaded


def why_not_built() -> str:
    """What the installation said, if it went on without the library."""
    said = build.HERE / build.WHY_NOT_BUILT
    return f" ({said.read_text(encoding='utf-8').splitlines()[0]}, says '{said}')" if said.exists() else ""


@cache
def why_not_native() -> str | None:
    """Why the loops in C cannot be had here, None if they can. The first to ask is warned: what runs instead is slower."""
    try:
        library()
    except (OSError, AttributeError) as error:  # AttributeError: a library of something else
        reason = f"the loops in C cannot be loaded: {error}"
        warnings.warn(f"graphattn is slow here, {reason}", stacklevel=2)
        return reason
    return None


@cache
def loop(name: str) -> ctypes.c_void_p:
    """The address of a loop, such as 'edges_forward_f32' or 'pairs_descend', in the version for this processor.

    >>> from graphattn.kernels.native.library import why_not_native
    >>> bool(loop("pairs_descend").value) if why_not_native() is None else True
    True
    """
    return ctypes.cast(getattr(library(), name + level()), ctypes.c_void_p)


@cache
@cache
def bytes_of_signs(channels: int, real: str) -> int:
    """What loops take to write down the sign of each channel; `real` is the type that they compute in, '_f32' or '_f64'."""
    return -(-channels // ctypes.c_int64.in_dll(library(), f"lanes{real}{level()}").value)


@cache
def level() -> str:
    """The last part of the names of what runs best on this processor."""
    return library().level().decode()
