"""What pip asks when it builds graphattn (PEP 517 and 660): setuptools' answers, and a C compiler where the machine has none.

The loops are compiled by `commands.py` with the compiler of the machine. Where there is none, `ziglang`, a compiler that pip
installs, is among the requirements of the build.
"""

import os
import subprocess
import sys

from commands import loops_are_wanted, native_build
from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401, what pip looks for in a backend
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)


def get_requires_for_build_wheel(config_settings=None) -> list[str]:
    return build_meta.get_requires_for_build_wheel(config_settings) + compilers()


def get_requires_for_build_editable(config_settings=None) -> list[str]:
    return build_meta.get_requires_for_build_editable(config_settings) + compilers()


def compilers() -> list[str]:
    """The compiler that pip is to bring: none where there is one, where none is wanted, or where pip would not find it."""
    if not loops_are_wanted() or native_build().installed_compiler() is not None or ziglang_is_out_of_reach():
        return []
    return ["ziglang"]


def ziglang_is_out_of_reach() -> bool:
    """Whether pip says that it finds no ziglang: it would give up the whole installation, which goes on without the loops."""
    # The folders of an isolated build hide pip itself.
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
    look = [*pip, "install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:", "ziglang"]
    found = subprocess.run(look, env=elsewhere, capture_output=True, text=True)
    return "No matching distribution" in found.stderr
