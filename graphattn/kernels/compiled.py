"""How the loops are compiled: without the interpreter's lock, once, and kept on disk as long as the disk will have it."""

import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager, suppress
from glob import escape
from hashlib import sha256
from inspect import getsource, ismodule
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

from graphattn.kernels.signals import postponed_signals
from graphattn.kernels.vectors import FASTMATH

OPTIONS = {"fastmath": FASTMATH, "nogil": True, "error_model": "numpy"}
SUM = sha256().digest_size  # bytes


def compiled(function: Callable) -> Callable:
    """`function` in machine code, made at its first call by a process and found on disk by the next.

    Numba's cache looks at the file of the function alone, not at the files of what it calls; the digest in the name, by
    which the cache finds it, stands for all of them. Ctrl-C while it is made comes at the end of that: LLVM calls Python to
    hand over what it has made, and the exception of a signal that comes then would be lost, and so the code.
    """
    function.__qualname__ += "_" + digest_of(function)
    loop = njit(**OPTIONS)(function)
    try:
        loop._cache = Cache(function)  # what `cache=True` does, with another cache
    except (RuntimeError, OSError) as error:  # neither beside the sources nor in the user's folder can a file be written
        tell_that_nothing_is_kept(error)
    compile_now = loop.compile

    def compile_undisturbed(sig):
        with postponed_signals():
            return compile_now(sig)

    loop.compile = compile_undisturbed
    return loop


# What the machine code depends on --------------------------------------------------------------------------------------


def digest_of(function: Callable) -> str:
    """Changes with everything that is compiled into the function.

    That is the source of every module of this package which its module uses functions or classes of, directly or through
    others, and the constants that they import from anywhere.
    """
    found = sha256()
    for name, names in sorted(namespaces_of(function).items()):
        constants = [(key, constant(value)) for key, value in sorted(names.items()) if not key.startswith("__")]
        found.update(repr((name, source_of(name), [pair for pair in constants if pair[1] is not None])).encode())
    return found.hexdigest()[:16]


def namespaces_of(function: Callable) -> dict[str, dict]:
    """The global names of each module that is reached, by the name of the module."""
    found, waiting = {}, [function.__globals__, globals()]
    while waiting:
        names = waiting.pop()
        if names.get("__name__", "") not in found:
            found[names.get("__name__", "")] = names
            origins = filter(None, map(module_of, names.values()))
            waiting += [vars(origin) for origin in origins if origin.__name__.startswith(__name__.partition(".")[0] + ".")]
    return found


def module_of(value: object):
    """Where a function, a class or an object of one comes from; a module is where it is."""
    value = getattr(value, "_defn", value)  # the function behind an intrinsic of Numba
    return value if ismodule(value) else sys.modules.get(getattr(value, "__module__", None))


def source_of(name: str) -> str:
    try:
        return getsource(sys.modules[name])
    except (KeyError, OSError, TypeError):  # made by exec, or installed without sources
        return ""


def constant(value: object) -> str | None:
    """A number, string, array or a collection of them in words that are the same in every process; None for others."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple)):
        return repr([constant(x) for x in value])
    return repr(value) if isinstance(value, (int, float, complex, str, bytes, np.generic)) else None


# Files that may be damaged ---------------------------------------------------------------------------------------------


class Cache(FunctionCache):
    """Numba's cache of a function; what goes wrong with its files costs time, never an answer."""

    told: ClassVar[set[str]] = set()  # what a process has been warned of

    def __init__(self, function: Callable):
        super().__init__(function)
        self._cache_file = SummedFiles(self.cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except MemoryError:
            raise
        except Exception as error:  # whatever stands in a file, the function can be compiled
            self.remove()
            tell(
                "damaged",
                f"compiled code in '{self.cache_path}' cannot be read (got {type(error).__name__}: {error}); it is compiled"
                " again, which takes some seconds, and what is damaged is replaced",
            )
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except MemoryError:
            raise
        except Exception as error:  # a full disk, a folder that may not be written, a folder where a file should be
            tell_that_nothing_is_kept(error)

    def remove(self) -> None:
        with suppress(OSError):
            for path in Path(self.cache_path).glob(f"{escape(self._impl.filename_base)}.*"):
                with suppress(OSError):
                    path.unlink()


class SummedFiles(IndexDataCacheFile):
    """Index and machine code, each followed by the sha256 of its name and content: damaged code, or another's, might run."""

    @contextmanager
    def _open_for_write(self, filepath):
        content = BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + sum_of(Path(filepath), content.getvalue()))

    def _load_index(self):
        check(Path(self._index_path))
        return super()._load_index()

    def _load_data(self, name):
        check(Path(self._data_path(name)))
        return super()._load_data(name)


def check(path: Path) -> None:
    """Raises ValueError for a file that does not end with the sum of what stands before; no file at all is none."""
    content = path.read_bytes() if path.exists() else None
    if content is not None and sum_of(path, content[:-SUM]) != content[-SUM:]:
        raise ValueError(f"'{path.name}' is not what was written")


def sum_of(path: Path, content: bytes) -> bytes:
    return sha256(path.name.encode() + b"\0" + content).digest()


def tell_that_nothing_is_kept(error: Exception) -> None:
    tell(
        "not kept",
        f"compiled code cannot be kept (got {type(error).__name__}: {error}), so that every process compiles it again, which"
        " takes some seconds; make room or let the folder be written, or set NUMBA_CACHE_DIR to one that can be",
    )


def tell(what: str, message: str) -> None:
    """Warns once in a process."""
    if what not in Cache.told:
        Cache.told.add(what)
        warnings.warn(message, RuntimeWarning, stacklevel=3)
