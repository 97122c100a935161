import re
from pathlib import Path

import graphattn

ROOT = Path(__file__).parents[1]


def test_version_is_the_newest_of_the_changelog_and_the_one_that_is_cited():
    releases = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert graphattn.__version__ == releases[0] == cited.group(1)
