"""How setuptools builds graphattn: the loops are compiled beside their sources, and a wheel with them is for one platform only."""

import os
import shutil
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOM = Path("graphattn", "kernels", "native")


@cache
def native_build() -> ModuleType:
    """graphattn/kernels/native/build.py, without the package, which needs torch."""
    spec = spec_from_file_location("native_build", Path(__file__).parent.parent / ROOM / "build.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loops_are_wanted() -> bool:
    return os.environ.get("GRAPHATTN_WITHOUT_LOOPS", "") in ("", "0")


def target() -> dict[str, str]:
    """The machine that the loops are for, as `build` takes it, where the variable of cross compilations names another."""
    platform = os.environ.get("_PYTHON_HOST_PLATFORM", "")
    if not platform:
        return {}
    system = {"win": "win32", "mac": "darwin"}.get(platform[:3], "linux")
    return {"machine": platform, "system": system}


class BuildPy(build_py):
    """Copies the package, unless it is used where it lies, and compiles its loops."""

    def run(self):
        if not self.editable_mode:  # nothing of an earlier build: modules that are gone, a library of other sources
            shutil.rmtree(Path(self.build_lib, "graphattn"), ignore_errors=True)
        super().run()
        native = native_build()
        room = native.HERE if self.editable_mode else Path(self.build_lib, ROOM)
        said = room / native.WHY_NOT_BUILT
        said.unlink(missing_ok=True)
        try:
            if not loops_are_wanted():
                raise native.CannotBuild("GRAPHATTN_WITHOUT_LOOPS was set when it was installed")
            library = native.build(room, **target())
            print(f"graphattn: compiled {library.name}, {library.stat().st_size // 1000} kB")
        except native.CannotBuild as error:
            (room / native.library_name()).unlink(missing_ok=True)  # of other sources
            said.write_text(str(error), encoding="utf-8")
            print(f"graphattn: without its loops in C, for which slower kernels stand in: {error}", file=sys.stderr)

    def get_outputs(self, include_bytecode=True):
        native = native_build()
        library = native.library_name(target().get("system", sys.platform))
        built = [Path(self.build_lib, ROOM, name) for name in (library, native.WHY_NOT_BUILT)]
        return super().get_outputs(include_bytecode) + [str(path) for path in built if path.exists()]


class Wheel(bdist_wheel):
    """The library has no header of Python or torch: one wheel of a platform is for every Python, and one without, for all."""

    def finalize_options(self):
        # So that it lies where libraries lie, and is no wheel for "any".
        self.distribution.has_ext_modules = lambda: True
        super().finalize_options()

    def get_tag(self):
        said = Path(self.get_finalized_command("build_py").build_lib, ROOM, native_build().WHY_NOT_BUILT)
        return "py3", "none", "any" if said.exists() else super().get_tag()[2]
