"""The compiled loops: found beside this file, checked, and loaded once."""

import ctypes
from functools import cache

from graphattn.kernels.native import build


@cache
def library() -> ctypes.CDLL:
    """The library that was compiled from the sources beside it.

    Raises:
        OSError: if it is not there, not for this machine, or of other sources.
    """
    path = build.HERE / build.library_name()
    if not path.exists():
        raise OSError(f"'{path}' is missing: `python {build.HERE / 'build.py'}` compiles it, and so does installing graphattn")
    loaded = ctypes.CDLL(str(path))
    loaded.sources.restype = loaded.level.restype = ctypes.c_char_p
    if loaded.sources().decode() != build.sources_digest():
        raise OSError(f"'{path}' was compiled from other sources; `python {build.HERE / 'build.py'}` compiles it anew")
    return loaded


@cache
def why_not_native() -> str | None:
    """Why the loops in C cannot be had here, None if they can."""
    try:
        library()
    except OSError as error:
        return f"the loops in C cannot be loaded: {error}"
    return None


@cache
def loop(name: str) -> ctypes.c_void_p:
    """The address of a loop, such as 'bands_forward_f32', in the version for this processor.

    >>> from graphattn.kernels.native.library import why_not_native
    >>> bool(loop("bands_forward_f32").value) if why_not_native() is None else True
    True
    """
    return ctypes.cast(getattr(library(), name + level()), ctypes.c_void_p)


@cache
def level() -> str:
    """The last part of the names of what runs best on this processor."""
    return library().level().decode()
