"""The notebook beside each page of the lecture: its text, its lines, and the answers that the tests check."""

import doctest
import re
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

FOLDER = Path(__file__).parents[1] / "lecture"
BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SLIDER = re.compile(r'^<div class="slider".*\n', re.MULTILINE)  # moves on the site alone


def pages() -> list[Path]:
    """The pages of the lecture, in their order."""
    return sorted(FOLDER.glob("*.md"))


def notebook_of(page: Path) -> nbformat.NotebookNode:
    """Text and code in turn; the code of the pages before runs in the first cell."""
    title, _, text = page.read_text(encoding="utf-8").partition("\n")
    text = SLIDER.sub("", text.rpartition("\n---\n")[0])  # the last line leads to other pages
    cells = [new_markdown_cell(title)]
    setup = [example.source for before in pages() if before < page for example in examples_of(before)]
    if setup:
        cells.append(new_code_cell("# from the pages before\n" + "".join(setup).rstrip()))
    place = 0
    for block in BLOCK.finditer(text):
        cells += prose(text[place : block.start()])
        for example in parse(block[1]):
            cell = new_code_cell(example.source.rstrip())
            if example.want:
                cell.outputs = [new_output("stream", name="stdout", text=example.want)]
            cells.append(cell)
        place = block.end()
    cells += prose(text[place:])
    number_cells(cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def number_cells(cells: list[nbformat.NotebookNode]) -> None:
    """Names of cells that stay the same when a notebook is written again, and the order in which its code ran."""
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count


def examples_of(page: Path) -> list[doctest.Example]:
    return [example for block in BLOCK.findall(page.read_text(encoding="utf-8")) for example in parse(block)]


def parse(block: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(block)


def prose(text: str) -> list[nbformat.NotebookNode]:
    return [new_markdown_cell(text.strip())] if text.strip() else []


def write() -> None:
    for page in pages():
        page.with_suffix(".ipynb").write_text(jupytext.writes(notebook_of(page), fmt="ipynb"), encoding="utf-8")
