"""The pages of the site: their lines run, their scripts learn, and the reference has every public name."""

import doctest
import importlib
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import pytest

import graphattn

DOCS = Path(__file__).parents[2] / "docs"
TOLD = [DOCS / "index.md", DOCS / "ideas.md", *sorted((DOCS / "howto").glob("*.md"))]


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.stem)
def test_the_lines_run(path):
    result = doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def public_modules():
    """Modules with `__all__`, but those whose names another one passes on."""
    found = {"graphattn": graphattn.__all__}
    for module in pkgutil.walk_packages(graphattn.__path__, "graphattn."):
        if module.name.startswith("graphattn.kernels") or any(part.startswith("_") for part in module.name.split(".")):
            continue
        names = getattr(importlib.import_module(module.name), "__all__", None)
        if names is not None:
            found[module.name] = names
    return found


def test_the_reference_has_every_public_name():
    """By object: a name that two modules have is told once."""
    pytest.importorskip("huggingface_hub")  # which graphattn.hub needs
    told = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            told.setdefault(id(getattr(importlib.import_module(module), attribute)), []).append(name)
    twice = [names for names in told.values() if len(names) > 1]
    missing = [f"{module}.{name}" for module, names in public_modules().items() for name in names
               if not name.startswith("__") and id(getattr(importlib.import_module(module), name)) not in told]  # fmt: skip
    assert not missing and not twice


def test_every_extra_is_told_where_one_installs():
    pyproject = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(
        r"^(\w+) = \[", pyproject.split("[project.optional-dependencies]")[1].split("\n[")[0], re.MULTILINE
    )
    told = (DOCS / "installing.md").read_text(encoding="utf-8")
    assert len(extras) > 8 and not [name for name in extras if f"`{name}`" not in told]


def test_every_page_is_in_the_navigation():
    told = set(re.findall(r"(\S+\.md)", (DOCS.parent / "mkdocs.yml").read_text()))
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "vendor" not in path.parts} <= told


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    pytest.importorskip("rdkit")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("sample")
    runpy.run_path(str(DOCS / "start" / "sample_data.py"))["main"](folder)
    return folder


@pytest.mark.parametrize(("name", "least"), [("network", 80), ("text", 90), ("sound", 90), ("image", 90)])
def test_scripts_of_the_start_learn(name, least, sample, monkeypatch, capsys):
    monkeypatch.chdir(sample)
    made = runpy.run_path(str(DOCS / "start" / f"{name}.py"))
    if name != "network":  # every class is tested
        assert len({int(data.y) for data in made["test"]}) == len(made["classes"])
    assert int(re.match(r"(\d+) % ", capsys.readouterr().out)[1]) >= least
    assert (sample / f"{name}.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_script_for_molecules_learns(sample, monkeypatch, capsys):
    monkeypatch.chdir(sample)
    runpy.run_path(str(DOCS / "start" / "molecule.py"))
    assert float(capsys.readouterr().out.split()[-1]) < 0.4  # the target has a deviation of 0.5
    assert (sample / "molecule.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_scripts_of_the_start_are_short():
    for path in (DOCS / "start").glob("*.py"):
        if path.stem != "sample_data":
            assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 35, path
    assert "sample_data" not in sys.modules
