"""Docstrings are plain text here, and links lead out of the documentation's folder: both are made Sphinx's."""

import re

from sphinx.application import Sphinx

SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:", "Attributes:")
OUTSIDE = re.compile(r"\]\((?P<path>(?:\.\./)+[^)#\s]+\.md)\)")


def as_restructured_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Make `code` literal, an indented equation behind a colon a literal block, and everything else plain text."""
    literal_from = None  # the indentation that a literal block is deeper than
    for number, line in enumerate(lines):
        indentation = len(line) - len(line.lstrip())
        if literal_from is not None and line.strip() and indentation <= literal_from:
            literal_from = None
        if literal_from is not None:
            continue
        following = lines[number + 1 : number + 3]
        begins_block = (
            line.rstrip().endswith((":", ","))
            and line.strip() not in SECTIONS
            and len(following) == 2
            and not following[0].strip()
            and len(following[1]) - len(following[1].lstrip()) > indentation
        )
        parts = re.split(r"(`[^`]+`)", line)
        lines[number] = "".join(f"`{part}`" if part.startswith("`") else _escaped(part) for part in parts)
        if begins_block:
            lines[number] += " ::" if line.rstrip().endswith(",") else ":"
            literal_from = indentation


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|]|_(?!\w))", r"\\\1", text)


def as_downloads(app, name: str, source: list[str]) -> None:
    """Let links to Markdown files outside the documentation lead to the files themselves."""
    source[0] = OUTSIDE.sub(r"](path:\g<path>)", source[0])


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-process-docstring", as_restructured_text, priority=100)  # before napoleon's
    app.connect("source-read", as_downloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
