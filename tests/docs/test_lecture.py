"""The lecture: its lines run, its pictures and links are there."""

import doctest
import re
from pathlib import Path

import pytest

LECTURE = Path(__file__).parents[2] / "docs" / "lecture.md"
TEXT = LECTURE.read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]


def test_the_lines_run():
    pytest.importorskip("rdkit")
    result = doctest.testfile(str(LECTURE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 60 and result.failed == 0


def test_every_link_leads_to_a_file_or_a_section():
    anchors = {re.sub(r"[^\w\- ]", "", section.split("\n")[0].lower()).replace(" ", "-") for section in SECTIONS}
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = link.partition("#")
        assert (LECTURE.parent / path).exists() if path else anchor in anchors, link


def test_every_section_has_code_and_a_picture():
    for section in SECTIONS:
        assert ">>> " in section and re.search(r"!\[.+\]\(lecture/\w+\.png\)", section), section.split("\n")[0]


def test_pictures_are_small():
    assert sum(path.stat().st_size for path in LECTURE.with_suffix("").glob("*.png")) < 1_000_000
