"""Compiles the loops: `python build.py [folder]` puts the library beside the sources, or into a folder.

It needs neither torch nor this package: the build backend runs it before either is installed. The compiler is the one of the
environment variable CC, or the first found of cc, gcc and clang, or `python -m ziglang cc`, which pip installs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
# -O2 where speed matters less: it halves the compiler's time.
REALS = {"_f32": ["-DREAL=float"], "_f64": ["-DREAL=double", "-DREAL_IS_DOUBLE", "-O2"]}
X86_LEVELS = {"": ["-march=x86-64", "-O2"], "_v3": ["-march=x86-64-v3"], "_v4": ["-march=x86-64-v4"]}
# Sources and what they are compiled for: each level of the processor and each type of numbers, or once.
BY_LEVEL_AND_REAL: tuple[str, ...] = ("edges_forward.c", "edges_backward.c")
BY_LEVEL: tuple[str, ...] = ("bands_forward.c", "bands_backward.c")
ONCE = "library.c", "pieces.c", "fields.c"
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wno-psabi", "-Wno-unknown-pragmas"]


def sources_digest() -> str:
    """Changes with every source; `library.py` compares it with that of the library it loads."""
    found = sha256()
    for path in sorted((*HERE.glob("*.[ch]"), HERE / "build.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return "s" + found.hexdigest()[:16]


def library_name(platform: str = sys.platform) -> str:
    return {"win32": "loops.dll", "darwin": "loops.dylib"}.get(platform, "loops.so")


def compiler() -> list[str]:
    """The command that compiles C.

    Raises:
        FileNotFoundError: if there is none.
    """
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise FileNotFoundError("no C compiler: install gcc or clang, or `pip install ziglang`, or name one by the variable CC")


def units(machine: str) -> list[tuple[str, list[str], str]]:
    """(source, flags, name of the object) of everything that the library is made of."""
    levels = X86_LEVELS if machine.lower() in ("x86_64", "amd64") else {"": []}
    found = [(source, [f"-DSOURCES={sources_digest()}"], Path(source).stem) for source in ONCE]
    for level, of_level in levels.items():
        for real, of_real in REALS.items():
            sources = BY_LEVEL_AND_REAL + (BY_LEVEL if real == "_f32" else ())
            found += [(s, [*of_level, *of_real, f"-DSUFFIX={real}{level}"], Path(s).stem + real + level) for s in sources]
    return found


def build(folder: Path = HERE, cc: list[str] | None = None, machine: str | None = None, extra: tuple[str, ...] = ()) -> Path:
    """Compiles all sources, some at a time, and links them; the library in its folder is replaced in one step.

    Args:
        folder: Where the library comes to lie.
        cc: Command of the compiler, with its target where that is another machine.
        machine: Processor of the target, as `platform.machine()` calls it.
        extra: More flags for every file.

    Raises:
        subprocess.CalledProcessError: if the compiler fails; it has said why.
    """
    import platform

    cc, machine = cc or compiler(), machine or platform.machine()
    with tempfile.TemporaryDirectory() as scratch:

        def compile_unit(unit: tuple[str, list[str], str]) -> str:
            source, flags, name = unit
            target = str(Path(scratch) / f"{name}.o")
            subprocess.run([*cc, *FLAGS, "-fPIC", *flags, *extra, "-c", str(HERE / source), "-o", target], check=True)
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_unit, units(machine)))
        library = Path(scratch) / library_name()
        subprocess.run([*cc, "-shared", *extra, *objects, "-lm", "-o", str(library)], check=True)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{library.name}.{os.getpid()}"
        shutil.copy2(library, unfinished)
        return unfinished.replace(folder / library.name)


if __name__ == "__main__":
    print(build(*map(Path, sys.argv[1:2])))
