import os
import shutil
import subprocess
import sys
from pathlib import Path

from graphattn.kernels import compiled
from graphattn.kernels.edges_cpu_gradients import backward_columns, backward_rows
from graphattn.kernels.edges_cpu_rows import forward_rows


def test_the_digest_changes_with_every_source(tmp_path, monkeypatch):
    names = [path.name for path in compiled.sources()]
    assert {"vectors.py", "edges_cpu_rows.py", "edges_cpu_gradients.py"} <= set(names)
    for path in (*compiled.sources(), Path(compiled.__file__)):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    digests = {compiled.digest_of_sources()}
    for name in names:
        (tmp_path / name).write_text((tmp_path / name).read_text() + "\n# changed\n")
        digests.add(compiled.digest_of_sources())
    assert len(digests) == 1 + len(names)


def test_the_cache_on_disk_is_found_by_the_digest():
    for function in (forward_rows, backward_rows, backward_columns):
        assert function.py_func.__qualname__.endswith(compiled.digest_of_sources())
        assert compiled.digest_of_sources() in function._cache._impl.filename_base


def test_runs_where_no_cache_can_be_written(tmp_path):
    """A package without a folder for its cache, and a user without one."""
    package = Path(compiled.__file__).parents[1]
    shutil.copytree(package, tmp_path / "graphattn", ignore=shutil.ignore_patterns("__pycache__"))
    for blocked in (tmp_path / "graphattn" / "kernels" / "__pycache__", tmp_path / "home"):
        blocked.touch()  # no folder can be made where a file is
    program = """
from graphattn.kernels import compiled, edges_cpu
print(edges_cpu.why_not_compiled(), compiled.__file__)
"""
    home = str(tmp_path / "home" / "user")
    folders = {"HOME": home, "XDG_CACHE_HOME": home, "NUMBA_CACHE_DIR": "", "PYTHONPATH": str(tmp_path)}
    options = {"capture_output": True, "text": True, "env": {**os.environ, **folders}, "cwd": tmp_path}
    result = subprocess.run([sys.executable, "-c", program], **options)
    assert result.stdout.split() == ["None", str(tmp_path / "graphattn" / "kernels" / "compiled.py")], result.stderr


def test_a_function_without_a_file_is_compiled_too():
    places = {}
    exec("def twice(x): return x + x", places)
    assert compiled.compiled(places["twice"])(3) == 6
