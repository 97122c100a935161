"""The feature table of the documentation: complete, and every Y backed by tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
ANSWERS = {"Y", "P", "N", "–"}


def table(title: str) -> list[list[str]]:
    """Cells of the rows of the table under a heading, without its head."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip().strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert len({len(row) for row in rows}) == 1, f"a row of {title!r} has too many or too few cells"
    return [[cell.strip() for cell in row] for row in rows[1:]]


FEATURES, OWN, ASKED = (
    table(title) for title in ("Features", "What none of the peers has", "What users asked their libraries for")
)
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]+::\w+)`", TEXT)))


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_named_tests_exist(name):
    path, function = name.split("::")
    assert (ROOT / path).is_file() and function in functions_of(ROOT / path)


def test_every_row_is_there():
    assert [row[0] for row in FEATURES] == [str(number) for number in range(1, 53)]
    assert [row[0] for row in OWN] == [f"N{number}" for number in range(1, 15)]
    assert [row[0] for row in ASKED] == [str(number) for number in range(1, 44)]


@pytest.mark.parametrize("row", FEATURES + OWN, ids=lambda row: row[0])
def test_every_answer_has_its_tests_or_its_reason(row):
    answer, last = row[2], row[-1]
    assert answer in ANSWERS
    assert "`tests/" in last or answer != "Y"
    words = re.sub(r"`tests/[^`]*`", "", last).strip(" ,;")
    assert words or answer == "Y", "what is partial or missing says why"


@pytest.mark.parametrize("row", ASKED, ids=lambda row: row[0])
def test_every_request_has_an_answer_and_a_test(row):
    assert row[2] and "`tests/" in row[3]


HEADERS = {"immintrin.h", "math.h", "stdatomic.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"}


def test_one_wheel_serves_every_python_and_torch():
    """The loops in C know neither: Python finds them by name."""
    for path in (ROOT / "graphattn" / "kernels" / "native").glob("*.[ch]"):
        included = set(re.findall(r"#include <([^>]+)>", path.read_text(encoding="utf-8")))
        assert included <= HEADERS, path.name
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "ext_modules" not in pyproject and 'requires = ["setuptools>=77"]' in pyproject
