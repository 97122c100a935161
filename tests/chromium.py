"""A headless Chromium for tests of pages: found on the machine, never downloaded."""

import shutil
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--autoplay-policy=no-user-gesture-required")  # fmt: skip


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def open_chromium():
    """A browser of playwright; the test is skipped where playwright or Chromium is missing."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    if find_chromium() is None:
        pytest.skip(f"none of {', '.join(NAMES)} is on the path: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(QUIET))
        yield browser
        browser.close()


class Tab:
    """A page that is open: what went wrong on it and what it asked the network for."""

    def __init__(self, browser, **options):
        self.page = browser.new_page(**({"viewport": {"width": 1300, "height": 900}} | options))
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))

    @property
    def foreign(self) -> list[str]:
        """Requests for anything but files and what pages hold themselves."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "about:", "blob:"))]
