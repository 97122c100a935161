import shutil
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
