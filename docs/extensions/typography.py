"""Typesets what is plain text in Markdown: subscripts (τ_q, E_norm), and figures that stay in one line (33.6 ± 0.1)."""

import re

from docutils import nodes
from sphinx.application import Sphinx

SYMBOL = re.compile(r"(?<!\w)(Σ?[EXqτ]\u2032?)_(norm|raw|q|t|i)(?![^\W_])")
TOGETHER = re.compile(r"(?<=[\d%]) [±/+→] (?=[\d.])|(?<=τ)( = | )(?=[\d.])|(?<=τ_q)( = | )(?=[\d.])")
AS_WRITTEN = (nodes.literal, nodes.literal_block, nodes.raw, nodes.comment)


def set_text(app: Sphinx, document: nodes.document) -> None:
    """Give symbols outside of code their subscripts, and spaces within figures no line break."""
    for text in list(document.findall(nodes.Text)):
        if isinstance(text.parent, AS_WRITTEN):
            continue
        parts = SYMBOL.split(TOGETHER.sub(lambda found: found[0].replace(" ", "\u00a0"), text))
        new: list[nodes.Node] = [nodes.Text(parts[0])]
        for letter, index, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):  # text, letter, index, ...
            new += [nodes.Text(letter), nodes.subscript(index, index), nodes.Text(after)]
        text.parent.replace(text, new)


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", set_text, priority=100)  # before titles are collected
    return {"parallel_read_safe": True, "parallel_write_safe": True}
