import pytest

from tests.chromium import Tab, open_chromium
from tests.viz.explorer.scenes import build


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as found:
        yield found


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Scenes by name, made once."""
    folder, known = tmp_path_factory.mktemp("pages"), {}

    def get(name):
        if name not in known:
            if name == "molecule":
                pytest.importorskip("rdkit", reason="molecules are read by RDKit")
            known[name] = build(name, folder / f"{name}.html") | {"path": folder / f"{name}.html"}
        return known[name]

    return get


@pytest.fixture
def show(browser, made):
    """Opens the page of a scene; at the end nothing went wrong on it and nothing was asked of the network."""
    tabs = []

    def open_page(name, address="", **options):
        tab = Tab(browser, **options)
        tabs.append(tab)
        tab.page.goto(f"file://{made(name)['path']}{address}")
        tab.page.wait_for_selector("body[data-ready]", timeout=20_000)
        return tab.page

    yield open_page
    for tab in tabs:
        tab.page.wait_for_timeout(50)
        assert not tab.errors and not tab.foreign
        tab.page.close()
