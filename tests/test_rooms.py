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


# How large a function may be: a reader sees it at once. These are larger, for a reason each.
MOST_PARAMETERS, MOST_LINES = 12, 60
OPERATOR = "torch.library gives an operator its tensors and numbers one by one"
PROGRAM = "Triton gives a program its pointers and strides one by one"
MIRROR = "users call it by the names of the layer of PyG or torch that it stands for"
DOOR = "all that attention is told is named and said at its door"
LARGE = {
    ("compiling/edge_operators.py", "numbers_of_edges"): OPERATOR,
    ("compiling/edge_operators.py", "numbers_of_edges_backward"): OPERATOR,
    ("compiling/edge_operators.py", "_"): OPERATOR,  # their shapes
    ("compiling/operators.py", "attend_operator"): OPERATOR,
    ("compiling/operators.py", "attend_backward"): OPERATOR,
    ("functional.py", "attend"): DOOR,
    ("kernels/cuda/edge_pieces.py", "piece_scores"): PROGRAM,
    ("kernels/cuda/edge_rows.py", "forward_rows"): PROGRAM,
    ("kernels/cuda/edge_rows.py", "backward_rows"): PROGRAM,
    ("kernels/cuda/edge_rows.py", "backward_columns"): PROGRAM,
    ("kernels/cuda/edge_rows.py", "backward_parameters"): PROGRAM,
    ("nn/attention.py", "GraphAttention.__init__"): MIRROR,
    ("nn/decoder.py", "DecoderLayer.__init__"): MIRROR,
    ("nn/equivalences/convolution.py", "ConvAttention.__init__"): MIRROR,
    ("nn/hetero_attention.py", "HeteroGraphAttention.__init__"): MIRROR,
}


def functions_of(tree, owner=""):
    """Every function of a file with its name, after those of the classes and functions around it."""
    for node in ast.iter_child_nodes(tree):
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        name = f"{owner}{node.name}" if is_function or isinstance(node, ast.ClassDef) else owner.rstrip(".")
        if is_function:
            yield name, node
        yield from functions_of(node, f"{name}." if name else "")


def large_functions(tree):
    """Names of functions with more parameters or lines than they may have; decorators are no lines of theirs."""
    for name, node in functions_of(tree):
        given = node.args
        parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        lines = node.end_lineno - node.lineno + 1
        if len(parameters) - parameters.count(None) > MOST_PARAMETERS or lines > MOST_LINES:
            yield name


def test_functions_can_be_read_at_once():
    found = {(path.as_posix(), name) for path, tree in FILES.items() for name in large_functions(tree)}
    assert found == set(LARGE)  # one that is no longer large leaves the list


def test_what_is_large():
    eleven = ", ".join(f"x{number}" for number in range(11))
    assert list(large_functions(ast.parse(f"class A:\n def f({eleven}, *, y, **z): pass\n def g({eleven}, y): 0"))) == [
        "A.f"
    ]
    body = "\n".join([" 0"] * 58)
    long, short = f"def f():\n{body}\n 0\n 0", f"@g\ndef f():\n{body}\n 0"
    assert [list(large_functions(ast.parse(source))) for source in (long, short)] == [["f"], []]
    assert list(large_functions(ast.parse(f"def f():\n if 0:\n  async def g({eleven}, y, z): pass"))) == ["f.g"]
