"""Names with an underscore stay at home: in their file, or, as members of classes, in their folder.

Which room may import which is told in pyproject.toml and checked by `lint-imports`.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import graphattn

ROOT = Path(graphattn.__file__).parent
FILES = {path.relative_to(ROOT): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


OF_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # public, for all their underscores


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name not in OF_TUPLES


def private_imports(tree):
    """Private names that a file takes from modules of this package, by import or as `module._name`."""
    modules, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "graphattn"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [(node.lineno, name) for name in names if is_private(name)]
            modules |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or "graphattn" for alias in node.names if alias.name.split(".")[0] == "graphattn"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            first = ast.unparse(node.value).split(".")[0]
            if first in modules and isinstance(node.value, (ast.Name, ast.Attribute)) and not first[0].isupper():
                found.append((node.lineno, ast.unparse(node)))
    return found


def private_members(tree):
    """Private names that the classes of a file define."""
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef):
            for node in ast.walk(owner):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield node.name
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield node.attr
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def members_by_room():
    rooms = defaultdict(set)
    for path, tree in FILES.items():
        rooms[path.parent] |= set(filter(is_private, private_members(tree)))
    return rooms


ROOMS = members_by_room()


def foreign_members(path, tree):
    """Private members that a file reads of objects of a class that lives in another room, and of none in its own."""
    elsewhere = set().union(*(names for room, names in ROOMS.items() if room != path.parent)) - ROOMS[path.parent]
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in elsewhere
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and not ast.unparse(node.value).startswith("super(")
    ]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_private_names_stay_at_home(path):
    assert private_imports(FILES[path]) == []
    assert foreign_members(path, FILES[path]) == []


@pytest.mark.parametrize(
    "source",
    [
        "from graphattn.graphs.csr import _index",
        "from graphattn.graphs import csr\ncsr._index(3)",
        "import graphattn.graphs.csr\ngraphattn.graphs.csr._index(3)",
        "from .csr import _index",
    ],
)
def test_what_is_found(source):
    assert len(private_imports(ast.parse(source))) == 1


def test_a_member_of_another_room_is_found():
    tree = ast.parse("graph._freeze(sizes=())\nself._freeze()\nsuper()._freeze()")
    assert [line for line, _ in foreign_members(Path("kernels/choose.py"), tree)] == [1]
    assert foreign_members(Path("graphs/graph.py"), tree) == []
