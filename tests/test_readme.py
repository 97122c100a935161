import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_ten_lines_run(capsys):
    example = re.search(r"## Ten lines\n\n```python\n(.*?)```", README, re.DOTALL).group(1)
    exec(example, {})
    assert capsys.readouterr().out == "banded_cpu\n"


def test_every_file_that_the_readme_names_is_there():
    root = Path(__file__).parent.parent
    for path in re.findall(r"!\[.*?\]\((.*?)\)|`(graphattn/[\w/.]+|tests/[\w/.]+)`", README, re.DOTALL):
        assert (root / (path[0] or path[1])).exists(), path
