import ast
from pathlib import Path

import pytest

from tests import tiers

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", [*tiers.COMPILE, *tiers.SLOW])
def test_what_is_named_is_there(name):
    path, _, function = name.partition("::")
    assert (ROOT / path).exists()
    if function and path.startswith("tests"):
        known = {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)}
        assert any(one.startswith(function.partition("[")[0]) for one in known)


class Item:
    def __init__(self, nodeid):
        self.nodeid, self.tier = nodeid, None

    def add_marker(self, tier):
        self.tier = tier


def test_a_function_of_many_cases_keeps_a_few_over_all_of_them():
    items = [Item(f"tests/test_x.py::test_y[{number}]") for number in range(1000)]
    items += [
        Item("tests/test_x.py::test_z"),
        Item("tests/compiling/test_x.py::test_z"),
        Item("tests/typing/test_x.py::test_z"),
    ]
    tiers.pytest_collection_modifyitems(items)
    quick = [number for number, item in enumerate(items[:1000]) if item.tier == "quick"]
    assert 2 <= len(quick) <= tiers.FEW and quick[0] == 0 and quick[-1] >= 1000 - 1000 // tiers.FEW - tiers.FEW
    assert [item.tier for item in items[1000:]] == ["quick", "compiles", "slow"]
