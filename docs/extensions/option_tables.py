"""The table of the plugin's options, from the same source as `fairseq-mh options`."""

import re

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fairseq_mh.translation.options.table import OptionRow, option_table


class OptionTable(SphinxDirective):
    """A row for each `--mh-*` option: its name, default and meaning."""

    has_content = False

    def run(self):
        rows = [f"| `{row.name}` | {shown_default(row)} | {shown_help(row)} |" for row in option_table()]
        table = "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])
        found = self.parse_text_to_nodes(table)
        found[0]["classes"].append("options")  # for static/tables.css
        return found


def shown_default(row: OptionRow) -> str:
    """Return the default as code if it is a value, and as text if it says what the default depends on."""
    if not row.default:
        return "off" if row.flag else "none"
    return f"`{row.default}`" if " " not in row.default else _with_code(row.default)


def shown_help(row: OptionRow) -> str:
    """Return the help with what stands for a choice or an option set as code."""
    text = row.help.replace("|", "\\|")
    if text.partition(":")[0] not in row.choices:
        text = text[:1].upper() + text[1:]
    text += "."
    if row.choices:
        text += f" One of {', '.join(f'`{choice}`' for choice in row.choices)}."
    return _with_code(text)


def _with_code(text: str) -> str:
    return re.sub(r"(--[a-z-]*[a-z])", r"`\1`", text)


def setup(app: Sphinx) -> dict:
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
