import ast
import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest
from llvmlite.binding import executionengine

from graphattn.kernels import compiled
from graphattn.kernels.edges_cpu_gradients import backward_columns, backward_rows
from graphattn.kernels.edges_cpu_rows import forward_rows

LOOPS = [loop.py_func for loop in (forward_rows, backward_rows, backward_columns)]
PACKAGE = Path(compiled.__file__).parents[1]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_the_digest_stands_for_every_module_that_is_reached(loop, monkeypatch):
    namespaces, digest = compiled.namespaces_of(loop), compiled.digest_of(loop)
    assert {loop.__module__, "graphattn.kernels.vectors", "graphattn.kernels.compiled"} <= set(namespaces)
    source_of = compiled.source_of
    for changed in namespaces:
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "source_of", lambda name, changed=changed: source_of(name) + (name == changed) * "#")
            assert compiled.digest_of(loop) != digest, changed
    assert compiled.digest_of(loop) == digest


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_what_modules_import_is_reached_or_a_constant_whose_value_counts(loop, monkeypatch):
    namespaces, digest, constants = compiled.namespaces_of(loop), compiled.digest_of(loop), []
    for module, names in namespaces.items():
        for statement in ast.walk(ast.parse(compiled.source_of(module))):
            if isinstance(statement, ast.Import):
                assert not any(alias.name.startswith("graphattn") for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and statement.module.startswith("graphattn"):
                for name in [alias.asname or alias.name for alias in statement.names]:
                    if statement.module not in namespaces:
                        assert compiled.constant(names[name]) is not None, f"{module} imports {name}"
                    if compiled.constant(names[name]) is not None:
                        constants.append(name)
                        monkeypatch.setitem(names, name, 12345)
                        assert compiled.digest_of(loop) != digest, f"{name} of {module}"
                        monkeypatch.undo()
    assert len(constants) > 2


@pytest.mark.parametrize("file", ["dropout.py", "vectors.py", None])
def test_another_constant_gives_another_digest(file, tmp_path):
    """In modules that hold no compiled code, too."""
    shutil.copytree(PACKAGE, tmp_path / "graphattn", ignore=shutil.ignore_patterns("__pycache__"))
    lines = {"dropout.py": ("0x27D4EB2F", "0x27D4EB31")}
    if file:
        path = tmp_path / "graphattn" / "kernels" / file
        changed = path.read_text().replace(*lines.get(file, ("LANES = 8", "LANES = 8 + 0")))
        assert changed != path.read_text()
        path.write_text(changed)
    program = """
from graphattn.kernels.edges_cpu_rows import forward_rows
print(forward_rows.py_func.__qualname__)
"""
    options = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(tmp_path)}, "cwd": tmp_path}
    result = subprocess.run([sys.executable, "-c", program], check=True, **options)
    assert (forward_rows.py_func.__qualname__ != result.stdout.strip()) == (file is not None)


def test_constants_are_the_same_in_every_process():
    assert compiled.constant({"b", "a"}) == compiled.constant({"a", "b"}) == compiled.constant(["a", "b"])
    assert compiled.constant(np.float32(1)) != compiled.constant(np.float64(1)) and compiled.constant(True) == "True"
    assert compiled.constant(np.arange(3)) != compiled.constant(np.arange(3.0)) and compiled.constant(len) is None
    assert compiled.constant((1, (2, {"x": 3}))) != compiled.constant((1, (2, {"x": 4})))


def test_the_cache_on_disk_is_found_by_the_digest():
    for function in (forward_rows, backward_rows, backward_columns):
        name, _, digest = function.py_func.__qualname__.rpartition("_")
        assert name == function.py_func.__name__ and len(digest) == 16
        assert digest in function._cache._impl.filename_base


def test_runs_where_no_cache_can_be_written(tmp_path):
    """A package without a folder for its cache, and a user without one."""
    shutil.copytree(PACKAGE, tmp_path / "graphattn", ignore=shutil.ignore_patterns("__pycache__"))
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
    assert result.stderr.count("compiled code cannot be kept") == 1


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Makes a compiled function as a new process would, each time from the same file."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled.Cache, "told", set())
    path = tmp_path / "tiny.py"
    path.write_text(
        "from graphattn.kernels.compiled import compiled\n\n\n@compiled\ndef tripled(x):\n    return x + x + x\n"
    )

    def load():
        spec = importlib.util.spec_from_file_location("tiny", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.tripled

    return load


def kept(tmp_path):
    return sorted(path for path in (tmp_path / "cache").rglob("*.nb[ic]"))


def read_from_disk(loop):
    return sum(loop.stats.cache_hits.values())


def test_what_was_compiled_is_read_by_the_next_process(load, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = load(), load()
        assert first(2) == 6 and not read_from_disk(first)
        assert second(2) == 6 and read_from_disk(second) == 1
        assert second(2.5) == 7.5 and len(kept(tmp_path)) == 3  # one index, two types


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "random": lambda content: np.random.default_rng(0).bytes(len(content)),
    "zeros": lambda content: bytes(len(content)),
    "one bit": lambda content: content[:-200] + bytes([content[-200] ^ 4]) + content[-199:],
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", [".nbi", ".nbc"])
def test_damaged_files_are_replaced(which, damage, load, tmp_path):
    load()(2)
    (path,) = [path for path in kept(tmp_path) if path.suffix == which]
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    loop = load()
    with pytest.warns(RuntimeWarning, match=rf"compiled code in '.*' cannot be read \(got ValueError: '{path.name}'") as told:
        assert loop(2) == 6
    assert len(told) == 1 and not read_from_disk(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load()
        assert again(2) == 6 and read_from_disk(again) == 1


def test_code_of_other_types_under_this_name_is_replaced(load, tmp_path):
    loop = load()
    assert loop(2) == 6 and loop(2.5) == 7.5
    one, other = (path for path in kept(tmp_path) if path.suffix == ".nbc")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"cannot be read \(got ValueError: '.*' is not what was written"):
        assert load()(2) == 6
    assert load()(2.5) == 7.5


def test_a_process_is_warned_once(load, tmp_path):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            assert load()(2) == 6
            for path in kept(tmp_path):
                path.write_bytes(b"")
    assert len(told) == 1


def test_a_folder_where_a_file_should_be(load, tmp_path):
    load()(2)
    for path in kept(tmp_path):
        path.unlink()
        path.mkdir()
    with pytest.warns(RuntimeWarning) as told:
        assert load()(2) == load()(2) == 6
    assert [str(one.message).split(" (got ")[0].split(" '")[0] for one in told] == [
        "compiled code in",
        "compiled code cannot be kept",
    ]


@contextmanager
def files_of_at_most(size):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 1000])  # bytes: nothing, half an index, an index and half the code
def test_a_full_disk(size, load, tmp_path):
    warned = pytest.warns(RuntimeWarning, match=r"compiled code cannot be kept \(got OSError: .*NUMBA_CACHE_DIR")
    with warned as told, files_of_at_most(size):
        assert load()(2) == 6
        assert load()(3) == 9
    assert len(told) == 1
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and ".tmp." in path.name]
    load()(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load()
        assert again(2) == 6 and read_from_disk(again) == 1


def refuse(*arguments, **options):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_files_of_somebody_else(load, tmp_path, monkeypatch):
    """Neither to be read nor to be replaced (root may do both, so that the calls are refused here)."""
    load()(2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        patch.setattr(Path, "unlink", refuse)
        patch.setattr(os, "replace", refuse)
        with pytest.warns(RuntimeWarning, match="PermissionError") as told:
            assert load()(2) == 6
    assert len(told) == 2  # cannot be read, cannot be kept


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("when", ["_load_index", "_save_index"])
def test_what_has_nothing_to_do_with_files_goes_on(error, when, load, monkeypatch):
    def interrupt(*_):
        raise error

    loop = load()
    with monkeypatch.context() as patch:
        patch.setattr(compiled.SummedFiles, when, interrupt)
        with pytest.raises(error):
            loop(2)
    assert loop(2) == 6


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_a_signal_while_llvm_is_at_work_is_not_lost(kind, load, monkeypatch, tmp_path):
    def interrupt(number, frame):
        raise kind

    before = signal.signal(signal.SIGINT, interrupt)
    string_at = executionengine.string_at  # called when LLVM hands over what it has made

    def string_and_signal(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return string_at(*arguments)

    loop = load()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(executionengine, "string_at", string_and_signal)
            with pytest.raises(kind):
                loop(2)
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGINT, before)
    assert loop(2) == 6 and len(kept(tmp_path)) == 2


def test_a_function_without_a_file_is_compiled_too(monkeypatch):
    monkeypatch.setattr(compiled.Cache, "told", set())
    places = {}
    exec("def twice(x): return x + x", places)
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        assert compiled.compiled(places["twice"])(3) == 6
