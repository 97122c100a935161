"""The lecture as a page for each section, with a notebook beside it whose answers are those that the tests check."""

import doctest
import re
from typing import NamedTuple

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SECONDS = 10  # of the longest notebook in a new process, imports included: 4.8 ... 9.4 on two cores at work
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Section(NamedTuple):
    """One section: its title, the name of its page, and its Markdown without the title."""

    title: str
    name: str
    text: str


def sections_of(lecture: str) -> list[Section]:
    parts = re.split(r"^## ", lecture, flags=re.MULTILINE)[1:]
    sections = []
    for part in parts:
        title, _, text = part.partition("\n")
        name = re.sub(r"[^\w]+", "-", re.sub(r"^\d+\. ", "", title).lower()).strip("-")
        sections.append(Section(title, f"{len(sections) + 1:02}-{name}", text))
    return sections


def page_of(section: Section, before: Section | None, after: Section | None) -> str:
    """The page of a section, with the way to its notebook and its neighbours."""
    text = section.text.replace("](lecture/", "](").replace("](../examples/", "](../../examples/")
    text = re.sub(r"\]\(#(\d+)-[^)]*\)", r"](../lecture.md)", text)
    text = text.replace("](../benchmarks)", "](../../benchmarks)").replace("](speed.md)", "](../speed.md)")
    ways = [f"[{other.title}]({other.name}.md)" for other in (before, after) if other is not None]
    notebook = f"[Notebook]({section.name}.ipynb) (runs in under {SECONDS} seconds)"
    return f"# {section.title}\n\n{text.strip()}\n\n---\n\n{' · '.join([notebook, *ways])}\n"


def notebook_of(section: Section, earlier: list[Section]) -> nbformat.NotebookNode:
    """Text and code in turn; the code of the sections before runs in the first cell."""
    cells = [new_markdown_cell(f"# {section.title}")]
    setup = [example.source for old in earlier for block in BLOCK.findall(old.text) for example in parse(block)]
    if setup:
        cells.append(new_code_cell("# from the sections before\n" + "".join(setup).rstrip()))
    place = 0
    for block in BLOCK.finditer(section.text):
        cells += prose(section.text[place : block.start()])
        for example in parse(block[1]):
            cell = new_code_cell(example.source.rstrip(), execution_count=None)
            if example.want:
                cell.outputs = [new_output("stream", name="stdout", text=example.want)]
            cells.append(cell)
        place = block.end()
    cells += prose(section.text[place:])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def parse(block: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(block)


def prose(text: str) -> list[nbformat.NotebookNode]:
    text = re.sub(r"!\[([^\]]*)\]\(lecture/[^)]*\)", r"*(picture: \1)*", text).strip()
    return [new_markdown_cell(text)] if text else []


def write_notebook(notebook: nbformat.NotebookNode) -> str:
    """The file of a notebook; the same text for the same notebook."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return jupytext.writes(notebook, fmt="ipynb")
