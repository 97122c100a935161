import ctypes
import sys

import pytest

from graphattn.kernels.native import build


@pytest.fixture
def few_sources(monkeypatch):
    """Only what is compiled once: all takes minutes."""
    monkeypatch.setattr(
        build, "units", lambda machine: [("library.c", [f"-DSOURCES={build.sources_digest()}"], "library")]
    )


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "find_spec", lambda name: None)


@pytest.mark.skipif(build.installed_compiler() is None, reason="needs a C compiler")
def test_a_library_is_made_and_replaced(few_sources, tmp_path):
    (tmp_path / build.library_name()).write_bytes(b"an old one")
    path = build.build(tmp_path)
    assert path == tmp_path / build.library_name() and list(tmp_path.iterdir()) == [path]
    library = ctypes.CDLL(str(path))
    library.sources.restype = ctypes.c_char_p
    assert library.sources().decode() == build.sources_digest()


def test_without_a_compiler(no_compiler, tmp_path):
    assert build.installed_compiler() is None
    with pytest.raises(
        build.CannotBuild, match=r"no C compiler was found: install gcc or clang, or `pip install ziglang`"
    ):
        build.build(tmp_path)


def test_ziglang_stands_in(no_compiler, monkeypatch):
    monkeypatch.setattr(build, "find_spec", lambda name: name == "ziglang")
    assert build.compiler() == [sys.executable, "-m", "ziglang", "cc"]


@pytest.mark.parametrize("cc", ["/nowhere/gcc", f"{sys.executable} -c 'import sys; sys.exit(\"no such flag\")'"])
def test_a_compiler_that_fails_leaves_the_old_library(cc, few_sources, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", cc)
    old = tmp_path / build.library_name()
    old.write_bytes(b"an old one")
    with pytest.raises(build.CannotBuild, match="cannot be run|failed\n(.|\n)*no such flag"):
        build.build(tmp_path)
    assert old.read_bytes() == b"an old one" and list(tmp_path.iterdir()) == [old]


def test_zig_has_names_of_its_own_for_processors(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(build, "call", commands.append)
    monkeypatch.setattr(build.shutil, "copy2", lambda source, target: target.write_bytes(b""))
    build.build(tmp_path, cc=["/some/zig", "cc"], machine="x86_64")
    levels = {word for command in commands for word in command if word.startswith("-m")}
    assert levels == {"-mcpu=x86_64", "-mcpu=x86_64_v3", "-mcpu=x86_64_v4"}
    commands.clear()
    build.build(tmp_path, cc=["gcc"], machine="win-amd64", system="win32")
    levels = {word for command in commands for word in command if word.startswith("-m")}
    assert levels == {"-march=x86-64", "-march=x86-64-v3", "-march=x86-64-v4"}
    assert not any("-fPIC" in command for command in commands) and (tmp_path / "loops.dll").exists()


@pytest.mark.parametrize("machine", ["arm64", "aarch64", "manylinux_2_17_aarch64", "macosx-13.0-arm64"])
def test_other_processors_have_one_level(machine):
    assert {name.rpartition("_")[2] for _, _, name in build.units(machine)} & {"v3", "v4"} == set()


def test_the_digest_follows_every_source(monkeypatch, tmp_path):
    for path in (*build.HERE.glob("*.[ch]"), build.HERE / "build.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    digest = build.sources_digest()
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert build.sources_digest() == digest
    (tmp_path / "pieces.h").write_bytes((tmp_path / "pieces.h").read_bytes() + b" ")
    assert build.sources_digest() != digest
