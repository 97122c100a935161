"""Which tests are quick: `python -m pytest -m quick` runs each part of the package in a minute and compiles nothing.

All tests are quick but those that are named here, and but most cases of the large tables, of which each function keeps a few.
"""

import gc
import sys

import pytest

# By torch.compile, torch.export or a C compiler: each takes a second or more. Beginnings of the names that pytest shows.
COMPILE = ("tests/compiling/",)
SLOW = ()
FEW = 24  # cases that a function keeps in the quick tier, spread evenly over all it has


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: for every save (see tests/tiers.py)")
    config.addinivalue_line("markers", "slow: takes long, or is one of many cases of a function")
    config.addinivalue_line("markers", "compiles: calls torch.compile, torch.export or a C compiler")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    cases = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, of_function in cases.items():
        few = set(range(0, len(of_function), -(-len(of_function) // FEW)))
        for place, item in enumerate(of_function):
            if name.startswith(COMPILE):
                item.add_marker("compiles")
            elif name.startswith(SLOW) or place not in few:
                item.add_marker("slow")
            else:
                item.add_marker("quick")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a quick test that compiles."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None or item.get_closest_marker("quick") is None:
        return (yield)
    before = dynamo.counters["frames"]["ok"]
    result = yield
    if dynamo.counters["frames"]["ok"] > before:
        raise AssertionError(f"{item.nodeid} compiles: name it in COMPILE of tests/tiers.py")
    return result


def pytest_collection_finish():
    """Many tests collect garbage: thousands of tests and modules need not be looked at each time."""
    gc.collect()
    gc.freeze()
