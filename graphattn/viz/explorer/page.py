"""The page: its parts in one file, which asks nothing of any server."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SCRIPTS = ("numbers.js", "paint.js", "scenes.js", "explorer.js")  # in the order in which they run
PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".gif")


class Page:
    """A page of scenes, each one input and the attention over it. It shows itself in notebooks.

    Args:
        scenes: What the page shows, as `explore` makes it.
        title: Of the page.
    """

    def __init__(self, scenes: Sequence[dict[str, Any]], title: str = "attention"):
        self.scenes, self.title = list(scenes), title

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title!r}, {[scene['title'] for scene in self.scenes]})"

    def html(self) -> str:
        """The whole page. Its content security policy names its one script and style by their hashes and allows no request."""
        style = (FOLDER / "explorer.css").read_text(encoding="utf-8")
        script = "'use strict';\n" + "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
        data = json.dumps({"title": self.title, "scenes": self.scenes}, ensure_ascii=False, separators=(",", ":"))
        parts = {
            "<!--policy-->": f"default-src 'none'; script-src {hash_of(script)}; style-src {hash_of(style)}; img-src data:;"
            " base-uri 'none'; form-action 'none'",
            "<!--title-->": html.escape(self.title),
            "/*style*/": style,
            "/*script*/": script,
            "/*data*/": data.replace("<", "\\u003c"),  # the name of a node must not end the element that holds it
        }
        page = (FOLDER / "explorer.html").read_text(encoding="utf-8")
        # All at once: nothing that is put in is taken for a place.
        return re.sub("|".join(map(re.escape, parts)), lambda found: parts[found.group()], page)

    def save(self, path: str | PathLike[str]) -> "Page":
        """Writes the page as one file; folders that are missing are made. ValueError where its name is that of a picture."""
        if Path(path).suffix.lower() in PICTURES:
            raise ValueError(
                f"a page is a file of HTML (got {str(path)!r}); save it as page.html: in a browser its button 'save as SVG' keeps"
                " a picture, and draw_words, draw_network and others of graphattn.viz draw one at once"
            )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.html(), encoding="utf-8")
        return self

    def widget(self) -> Any:
        """The page as a widget of a notebook, whose `state` tells what is looked at (needs anywidget, extra 'notebook')."""
        from graphattn.viz.explorer.widget import make_widget

        return make_widget(self.html())

    def _repr_mimebundle_(self, **options: Any) -> Any:
        try:
            return self.widget()._repr_mimebundle_(**options)
        except ImportError:
            frame = html.escape(self.html(), quote=True)
            style = "width:100%;height:760px;border:0"
            return {"text/html": f'<iframe sandbox="allow-scripts allow-downloads" style="{style}" srcdoc="{frame}"></iframe>',
                    "text/plain": repr(self)}  # fmt: skip


def hash_of(text: str) -> str:
    """The name of a script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def join_pages(pages: Sequence[Page], title: str = "attention", path: str | PathLike[str] | None = None) -> Page:
    """One page with the scenes of several, one after the other; saved as `path` if that is given.

    >>> join_pages([Page([{"title": "a"}]), Page([{"title": "b"}])], "both")
    Page('both', ['a', 'b'])
    """
    joined = Page([scene for page in pages for scene in page.scenes], title)
    return joined if path is None else joined.save(path)
