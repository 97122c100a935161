"""The docstrings of the package as Markdown: formulas, code and names in the dialect of the site."""

import re
import textwrap

import griffe

MATH = re.compile(r"^( *)\.\. math::[ \t]*(.*)\n((?:\1[ ]+\S.*\n?|\s*\n)*)", re.MULTILINE)

SECTION = re.compile(
    r"^( *)Examples?:\n((?:\1 +.*\n|\s*\n)*)", re.MULTILINE
)  # its lines are code, as they stand without a title
EXAMPLE = re.compile(r"^( *)>>> .*\n(?:\1 *\S.*\n)*", re.MULTILINE)  # to the next empty line


def as_markdown(text: str) -> str:
    """A docstring whose formulas stand between signs that KaTeX knows, and whose examples and names are code."""

    def formula(found: re.Match) -> str:
        body = " ".join(part for part in (found[2], textwrap.dedent(found[3]).strip()) if part)
        return f"{found[1]}$$\n{found[1]}{body}\n{found[1]}$$\n\n"

    text = SECTION.sub(lambda found: textwrap.indent(textwrap.dedent(found[2]), found[1]), text + "\n")
    text = MATH.sub(formula, text)
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r"``([^`\n]+)``", r"`\1`", text)
    return EXAMPLE.sub(lambda found: f"\n{found[1]}```pycon\n{found[0]}{found[1]}```\n", text).rstrip()


class Docstrings(griffe.Extension):
    """Rewrites every docstring once it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
