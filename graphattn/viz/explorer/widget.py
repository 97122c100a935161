"""The page in a notebook: a frame of its own, and what is looked at told to Python."""

from pathlib import Path
from typing import Any


def make_widget(page: str) -> Any:
    """An anywidget with the traits `page` (HTML), `height` (pixels) and `state` (what is looked at: scene, node, heads)."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError("widgets need anywidget, which is not installed; run: pip install anywidget") from error

    class ExplorerWidget(anywidget.AnyWidget):
        _esm = (Path(__file__).parent / "widget.js").read_text(encoding="utf-8")
        page = traitlets.Unicode().tag(sync=True)
        height = traitlets.Int(760).tag(sync=True)
        state = traitlets.Dict().tag(sync=True)

    return ExplorerWidget(page=page)
