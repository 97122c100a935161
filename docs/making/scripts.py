"""Scripts that a page shows: a comment with the name of a file stands before the block that holds its text.

The file is the script, the block is written from it. So the page reads the same on the site and where Markdown is shown as it is.
"""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
SHOWN = re.compile(r"^(<!-- (\S+\.py) -->\n```python\n).*?(^```$)", re.MULTILINE | re.DOTALL)


def pages() -> dict[Path, str]:
    """{page that shows scripts: its text with the scripts as they are now}."""
    texts = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
    return {page: with_scripts(page, text) for page, text in texts.items() if SHOWN.search(text)}


def with_scripts(page: Path, text: str) -> str:
    def put_in(found: re.Match) -> str:
        return found[1] + (page.parent / found[2]).read_text(encoding="utf-8") + found[3]

    return SHOWN.sub(put_in, text)


def write() -> None:
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
