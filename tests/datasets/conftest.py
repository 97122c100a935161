from pathlib import Path

import pytest

from graphattn.datasets import download


@pytest.fixture
def serve(monkeypatch):
    """serve({name: bytes}) answers downloads instead of the network; gives the addresses asked for."""

    def serve(content):
        asked = []

        def download_url(url, folder):
            asked.append(url)
            path = Path(folder, url.rpartition("/")[2])
            path.write_bytes(content[path.name])
            return str(path)

        monkeypatch.setattr(download, "download_url", download_url)
        return asked

    return serve
