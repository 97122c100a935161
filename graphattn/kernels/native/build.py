"""Compiles the loops: `python build.py [folder]` puts the library beside the sources, or into a folder.

It needs neither torch nor this package: the build backend runs it before either is installed. The compiler is the one of the
environment variable CC, or the first found of cc, gcc and clang, or `python -m ziglang cc`, which pip installs.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHY_NOT_BUILT = "why_not_built.txt"  # left by an installation without the library
REALS = {"_f32": ["-DREAL=float"], "_f64": ["-DREAL=double", "-DREAL_IS_DOUBLE", "-fno-peel-loops"]}
X86_LEVELS = {"": ["-march=x86-64", "-Os"], "_v3": ["-march=x86-64-v3"], "_v4": ["-march=x86-64-v4"]}
# Sources and what they are compiled for: each level of the processor and each type of numbers, or once.
BY_LEVEL_AND_REAL = "edges_forward.c", "edges_backward.c"
BY_LEVEL = "bands_forward.c", "bands_backward.c", "linear.c", "layer_norm.c", "gine.c", "drop.c", "dots.c"  # and float
OF_INDICES = ("indices.c",)  # each level, and no type of numbers
ONCE = "library.c", "pieces.c", "fields.c", "sorting.c"
# Of what GCC's -O3 adds, loops gain by nothing but short ones laid out whole (-fpeel-loops), and are a fifth larger.
FLAGS = [
    "-std=gnu11", "-O2", "-fpeel-loops", "-g0", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wno-psabi",
    "-Wno-unknown-pragmas", "-Wno-ignored-optimization-argument",
]  # fmt: skip


def sources_digest() -> str:
    """Changes with every source; `library.py` compares it with that of the library it loads."""
    found = sha256()
    for path in sorted((*HERE.glob("*.[ch]"), HERE / "build.py"), key=lambda path: path.name):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return "s" + found.hexdigest()[:16]


def library_name(system: str = sys.platform) -> str:
    return {"win32": "loops.dll", "darwin": "loops.dylib"}.get(system, "loops.so")


def installed_compiler() -> list[str] | None:
    """The command of a compiler that this machine has, whatever pip may bring."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def compiler() -> list[str]:
    """The command that compiles C.

    Raises:
        CannotBuild: if there is none.
    """
    found = installed_compiler()
    if found is None and find_spec("ziglang") is not None:
        found = [sys.executable, "-m", "ziglang", "cc"]
    if found is None:
        raise CannotBuild(
            "no C compiler was found: install gcc or clang, or `pip install ziglang`, or name one by the variable CC"
        )
    return found


class CannotBuild(Exception):
    """There is no compiler, or it failed; the first line says which, the others what it said."""


def call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise CannotBuild(f"the compiler cannot be run: {error}") from error
    if done.returncode:
        raise CannotBuild(f"the compiler {command[0]!r} failed\n{shlex.join(command)}\n{done.stdout}{done.stderr}")
    print(done.stdout + done.stderr, end="")  # warnings


def units(machine: str) -> list[tuple[str, list[str], str]]:
    """(source, flags, name of the object) of everything that the library is made of."""
    levels = X86_LEVELS if machine.lower().endswith(("x86_64", "amd64")) else {"": []}
    found = [(source, [f"-DSOURCES={sources_digest()}"], Path(source).stem) for source in ONCE]
    for level, of_level in levels.items():
        found += [(s, [*of_level, f"-DSUFFIX={level}"], Path(s).stem + level) for s in OF_INDICES]
        for real, of_real in REALS.items():
            sources = BY_LEVEL_AND_REAL + (BY_LEVEL if real == "_f32" else ())
            for source in sources:
                more = ["-O3"] if source in BY_LEVEL and "-Os" not in of_level else []  # a seventh of a band's time
                flags = [*of_level, *of_real, *more, f"-DSUFFIX={real}{level}"]
                found.append((source, flags, Path(source).stem + real + level))
    return found


def build(
    folder: Path = HERE,
    cc: list[str] | None = None,
    machine: str | None = None,
    system: str = sys.platform,
    extra: tuple[str, ...] = (),
) -> Path:
    """Compiles all sources, some at a time, and links them; the library in its folder is replaced in one step.

    Args:
        folder: Where the library comes to lie.
        cc: Command of the compiler, with its target where that is another machine.
        machine: Processor of the target, as `platform.machine()` calls it; words may go before.
        system: Operating system of the target, as `sys.platform` calls it.
        extra: More flags for every file.

    Raises:
        CannotBuild: if there is no compiler, or it failed.
    """
    cc, machine = cc or compiler(), machine or platform.machine()
    is_zig = any("zig" in Path(word).name for word in cc)
    anywhere = [] if system == "win32" else ["-fPIC", "-fno-asynchronous-unwind-tables"]
    with tempfile.TemporaryDirectory() as scratch:

        def compile_unit(unit: tuple[str, list[str], str]) -> str:
            source, flags, name = unit
            if is_zig:  # which has names of its own for processors
                flags = [flag.replace("-march=x86-64", "-mcpu=x86_64").replace("_64-v", "_64_v") for flag in flags]
            target = str(Path(scratch) / f"{name}.o")
            call([*cc, *FLAGS, *anywhere, *flags, *extra, "-c", str(HERE / source), "-o", target])
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            longest_first = sorted(units(machine), key=lambda unit: -(HERE / unit[0]).stat().st_size)
            objects = list(pool.map(compile_unit, longest_first))
        library = Path(scratch) / library_name(system)
        strip = [] if "-g" in extra else ["-Wl,-S"]  # of what Clang puts there unasked
        call([*cc, "-shared", *strip, *extra, *objects, "-lm", "-o", str(library)])
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{library.name}.{os.getpid()}"
        shutil.copy2(library, unfinished)
        return unfinished.replace(folder / library.name)


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
    except CannotBuild as error:
        sys.exit(str(error))
