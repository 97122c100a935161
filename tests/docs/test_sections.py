"""The blocks of pages whose sections stand for themselves: each section runs behind the first block of its page."""

import re
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
OPTIONAL = ("tokenizers", "pandas", "huggingface_hub", "safetensors", "onnxruntime", "onnxscript", "lightning", "rdkit")


def sections(page):
    """(name, its blocks) of each section; the first is the beginning of the page."""
    parts = re.split(r"^## (.*)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: BLOCK.findall(text) for name, text in zip(["", *parts[1::2]], parts[::2], strict=True)}


PAGES = ("overview.md", "data_and_models.md", "from_pyg.md")
CASES = [(page, name) for page in PAGES for name, blocks in sections(page).items() if name and blocks]


def test_every_block_is_in_a_section():
    assert {page for page, _ in CASES} == set(PAGES)
    for page in PAGES:
        assert sum(map(len, sections(page).values())) == (DOCS / page).read_text(encoding="utf-8").count("```python\n")


@pytest.mark.parametrize("page, name", CASES)
def test_the_blocks_of_a_section_run(page, name):
    of_page = sections(page)
    before = {"Exported: ONNX": ["Exported: AOTInductor and torch.export"]}.get(name, [])
    scope = {"__name__": page}
    for section in ["", *before, name]:
        for block in of_page[section]:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    exec(compile(block, f"{page}, {section}", "exec"), scope)
            except ImportError as error:
                if not any(package in str(error) for package in OPTIONAL):
                    raise
                pytest.skip(str(error))
