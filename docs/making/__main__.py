"""Writes again what the site holds beside its pages: `python -m docs.making`, after a change of what it is made from.

    part        what is written                                  it is made from
    scripts     the blocks of pages that show a script           the scripts beside these pages
    lecture     a notebook beside each page of the lecture       these pages
    explorer    docs/explorer.html, a page of attention          graphattn.viz.explore and five small models, trained here
    vendor      docs/vendor: KaTeX and the worker of the search  npm, at the versions of vendor.py

What is written is kept in the repository, and tests compare it with what it is made from. So `mkdocs build` alone makes the site;
nothing of ours runs meanwhile but docstrings.py, by mkdocstrings.

Zensical, which follows mkdocs-material, reads the same mkdocs.yml. Its release 0.0.73 made the same pages: links, formulas, sliders
and lines copied without prompts, and a search from the disk. To move there: in pyproject.toml, `zensical` in the place of
`mkdocs` and `mkdocs-material`; `zensical build` in the place of `mkdocs build`; in tests/docs/test_site.py, the names of its search
box. With `variant: classic` under `theme` it looks as before.
"""

import argparse

from docs.making import explorer_page, lecture, scripts, vendor

PARTS = {"scripts": scripts.write, "lecture": lecture.write, "explorer": explorer_page.write, "vendor": vendor.write}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.making", description=__doc__.partition(":")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; none: all of them")
    chosen = parser.parse_args().parts or PARTS
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        parser.error(f"'part' must be one of {', '.join(PARTS)} (got {', '.join(unknown)})")
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
