"""The archive that pip takes apart holds what the repository holds."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools.command.bdist_wheel", reason="needs setuptools 77, which builds have")
ROOT = Path(__file__).parents[2]
OF_THE_REPOSITORY = (".github", ".gitignore", ".pre-commit-config.yaml", ".gitattributes")


def tracked():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a clone")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if name.split("/")[0] not in OF_THE_REPOSITORY}


def test_the_archive_is_complete(tmp_path):
    names = tracked()
    copy = tmp_path / "clone"
    for name in names:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    (copy / "graphattn" / "kernels" / "native" / "loops.so").write_bytes(b"of this machine")
    build = "import sys; sys.path.insert(0, 'install'); import backend; print(backend.build_sdist(sys.argv[1]))"
    run = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with tarfile.open(tmp_path / run.stdout.split()[-1]) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in names if (ROOT / name).is_file()} - found == set()
    assert not [name for name in found if name.endswith((".so", ".pyc"))]
