"""The page on recipes: its lines run, its commands are read, its table names every recipe."""

import re
from pathlib import Path

import pytest

from graphattn.command.main import make_parser
from graphattn.recipes.loading import KNOWN

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
BASH, PYTHON = ("".join(re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)) for kind in ("bash", "python"))


def test_the_lines_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON, "recipes.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "sequence classification" not in printed and "best by validation accuracy" in printed
    assert re.search(r"\['(praise|blame)', '(praise|blame)'\]", printed)
    assert "praise.pt2, compared with the model: " in printed and "takes edge_index: int64 [2, num_edges]" in printed
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize("line", [line for line in BASH.splitlines() if line])
def test_the_commands_are_read(line):
    words = line.partition("#")[0].replace('"a good film"', "text").split()
    assert make_parser().parse_args(words[1:]).command == words[1]


def test_every_recipe_is_in_the_table():
    assert all(f"`{recipe.__name__}`" in TEXT for recipe in KNOWN)
