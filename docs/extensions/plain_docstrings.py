"""Makes plain docstrings readable for Sphinx, and links that lead out of the documentation's folder."""

import re

from sphinx.application import Sphinx

SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:", "Attributes:")
OUTSIDE = re.compile(r"\]\((?P<path>(?:\.\./)+[^)#\s]+\.md)(?:#[^)\s]*)?\)")


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
        text = "".join(f"`{part}`" if part.startswith("`") else _escaped(part) for part in parts)
        lines[number] = re.sub(r"(?<=``)(?=\w)(?<=\w``)", r"\\ ", text)
        if begins_block:
            lines[number] += " ::" if line.rstrip().endswith(",") else ":"
            literal_from = indentation


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*|]|_(?!\w))", r"\\\1", text)
    return re.sub(r"(: [A-Z])\.$", r"\1\\.", text)  # `V.` is not the first item of a list


def without_types(app, what, name, obj, options, lines: list[str]) -> None:
    """Undo what napoleon makes of a colon: types stand in annotations here, and never before a colon."""
    for number in reversed(range(len(lines))):
        kind, _, text = lines[number].partition(": ")
        if kind == ":rtype":
            del lines[number]
            first = next(n for n, line in enumerate(lines) if line.startswith(":returns: "))
            lines[first] = lines[first].replace(":returns: ", f":returns: {text}: ")
        elif kind == ":type" and what == "property":
            del lines[number]
            lines[0] = f"{text}: {lines[0]}"


def as_downloads(app, name: str, source: list[str]) -> None:
    """Let links to Markdown files outside the documentation, and to their sections, lead to the files themselves."""
    source[0] = OUTSIDE.sub(r"](path:\g<path>)", source[0])


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-process-docstring", as_restructured_text, priority=100)  # before napoleon's
    app.connect("autodoc-process-docstring", without_types, priority=900)  # after napoleon's
    app.connect("source-read", as_downloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
