"""What pip is told when it builds graphattn; installing itself is shown by the README's commands."""

import sys
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("setuptools.command.bdist_wheel", reason="needs setuptools 77, which builds have")


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "install"))
    for name in ("CC", "GRAPHATTN_WITHOUT_LOOPS", "_PYTHON_HOST_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    yield import_module("backend")
    for name in ("backend", "commands"):
        del sys.modules[name]


@pytest.fixture
def pip_says(backend, monkeypatch):
    """Lets pip's search for ziglang end with some words, on a machine without a compiler."""
    monkeypatch.setattr(backend.native_build(), "installed_compiler", lambda: None)

    def say(words):
        monkeypatch.setattr(backend.subprocess, "run", lambda *_, **__: CompletedProcess([], bool(words), "", words))

    say("")
    return say


def test_a_machine_with_a_compiler_asks_for_none(backend, monkeypatch):
    monkeypatch.setenv("CC", "gcc")
    assert backend.compilers() == []


@pytest.mark.parametrize("words", ["", "No module named pip"])
def test_a_machine_without_asks_for_ziglang(words, backend, pip_says):
    pip_says(words)
    assert backend.compilers() == ["ziglang"]


def test_what_pip_does_not_find_is_not_asked_for(backend, pip_says):
    pip_says("ERROR: No matching distribution found for ziglang")
    assert backend.compilers() == []


@pytest.mark.parametrize("value, asked", [("1", []), ("yes", []), ("0", ["ziglang"]), ("", ["ziglang"])])
def test_without_loops(value, asked, backend, pip_says, monkeypatch):
    monkeypatch.setenv("GRAPHATTN_WITHOUT_LOOPS", value)
    assert backend.compilers() == asked


@pytest.mark.parametrize(
    "platform, system",
    [
        ("manylinux_2_17_aarch64", "linux"),
        ("macosx-13.0-arm64", "darwin"),
        ("win_amd64", "win32"),
        ("linux-x86_64", "linux"),
    ],
)
def test_the_target_of_a_cross_compilation(platform, system, backend, monkeypatch):
    assert import_module("commands").target() == {}
    monkeypatch.setenv("_PYTHON_HOST_PLATFORM", platform)
    assert import_module("commands").target() == {"machine": platform, "system": system}
