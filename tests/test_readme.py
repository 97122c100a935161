"""The README: short, its blocks run, its links lead somewhere, its figures are those of the pages."""

import re
from pathlib import Path

import pytest

from graphattn.command.main import make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEN_LINES, OTHERS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_run(capsys):
    exec(TEN_LINES, {})
    assert capsys.readouterr().out == "banded_cpu\n"


def test_a_model_is_made_faster_and_looked_into(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(TEN_LINES + OTHERS, {})
    assert "convs.0" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_visitor_reads_it_in_five_minutes():
    assert len(README.split()) < 1200


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 15
    for path in links:
        assert path.startswith("https://") or (ROOT / path).exists(), path


def test_one_command_is_marked_as_that_of_the_tests():
    (command,) = re.findall(r"<!-- test command -->\n```bash\n(.*)\n```", README)
    assert command.endswith("python -m pytest -q -n auto --dist worksteal")


def test_the_command_that_trains_is_read():
    (command,) = re.findall(r"`graphattn (train [^`]+)`", README)
    assert make_parser().parse_args(command.split()).label == "stars"


@pytest.mark.parametrize(
    "row, page", [("500,000 edges on two", "speed"), ("10 million edges", "speed"), ("Minesweeper", "results")]
)
def test_figures_are_those_of_the_pages(row, page):
    """Every number of the cell stands on the page that has the whole table."""
    (line,) = [line for line in README.splitlines() if line.startswith("| ") and row in line]
    told = re.findall(r"\d[\d.]*", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    for number in re.findall(r"\d[\d.]*\d", line.split(" | ")[1].split(";")[0]):
        assert number in told, number
