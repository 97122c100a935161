"""`pip install -e .` for real, without loops and without a network."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytest.importorskip("setuptools.command.bdist_wheel", reason="needs setuptools 77, which builds have")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A clone called graphattn, and the Python of a virtual environment where it is installed as it lies."""
    clone = tmp_path_factory.mktemp("home") / "graphattn"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md"):
        shutil.copy(ROOT / name, clone)
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in ("graphattn", "install"):
        shutil.copytree(ROOT / name, clone / name, ignore=unwanted)
    (clone / "tests").mkdir()
    (clone / "tests" / "__init__.py").touch()
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    ]
    environment = os.environ | {"GRAPHATTN_WITHOUT_LOOPS": "1", "PYTHONPATH": ""}
    # The environment has no setuptools of its own: it builds with that of the tests.
    site = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    lent = Path(site.stdout.strip(), "lent.pth")
    lent.write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    subprocess.run([*pip, "-e", clone], env=environment, check=True, capture_output=True)
    return clone, python


FIND = "import importlib.util as u; spec = u.find_spec('graphattn'); print(spec.origin)"


@pytest.mark.parametrize("place", [".", "graphattn", "graphattn/tests", "/"])
def test_the_package_is_found_from_any_folder(place, installed):
    clone, python = installed
    found = subprocess.run(
        [python, "-c", FIND],
        cwd=clone.parent / place,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(clone / "graphattn" / "__init__.py"), found.stderr
