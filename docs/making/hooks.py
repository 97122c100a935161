"""What mkdocs calls while it builds the site."""

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

import explorer_page
import lecture
from vendor import vendor

ROOT = Path(__file__).parents[2]
SOURCES = "https://github.com/graphattn/graphattn/blob/main/"


def on_config(config):
    vendor()
    sections = lecture.sections_of((ROOT / "docs" / "lecture.md").read_text(encoding="utf-8"))
    pages = [f"lecture/{section.name}.md" for section in sections]
    for entry in config.nav:
        if isinstance(entry, dict) and "Lecture" in entry:
            entry["Lecture"] = ["lecture.md", *pages]
    return config


def on_files(files, config):
    """Adds the pages and notebooks of the lecture, and the page of attention that Ideas shows."""
    sections = lecture.sections_of((ROOT / "docs" / "lecture.md").read_text(encoding="utf-8"))
    for place, section in enumerate(sections):
        before, after = (sections[other] if 0 <= other < len(sections) else None for other in (place - 1, place + 1))
        page, notebook = lecture.page_of(section, before, after), lecture.notebook_of(section, sections[:place])
        files.append(File.generated(config, f"lecture/{section.name}.md", content=page))
        files.append(File.generated(config, f"lecture/{section.name}.ipynb", content=lecture.write_notebook(notebook)))
    files.append(File.generated(config, "explorer.html", content=explorer_page.make()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Puts in the changelog; files outside of the site become links to the repository."""
    markdown = re.sub(r"^\{\{ CHANGELOG \}\}$", lambda found: changelog(), markdown, flags=re.MULTILINE)
    markdown = re.sub(
        r"`[^`\n]*`", lambda found: found[0].replace("\\|", "|"), markdown
    )  # escaped in tables for GitHub alone
    markdown = markdown.replace("```python\n>>> ", "```pycon\n>>> ")  # so that prompts are told from what is typed
    return re.sub(r"\]\(((?:\.\./)*)([^)#:\s]+)(#[^)]*)?\)", lambda found: link(found, page, files), markdown)


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]


def link(found, page, files) -> str:
    """A link as it is, or to the repository where the site has no such file."""
    up, path, anchor = found[1], found[2], found[3] or ""
    folder = Path(page.file.src_uri).parent
    parts = (Path("docs") / folder).parts
    base = Path(*parts[: len(parts) - up.count("../")]) if up.count("../") <= len(parts) else Path()
    target = base / path
    inside = target.as_posix().removeprefix("docs/") if target.parts[:1] == ("docs",) else None
    if inside is not None and files.get_file_from_path(inside) is not None:
        return found[0]
    if (ROOT / target).exists():
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"]({SOURCES.replace('blob', kind)}{target.as_posix()}{anchor})"
    return found[0]
