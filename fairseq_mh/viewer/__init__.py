"""The viewer of chains that the page and the report share: self-contained scripts and a style sheet."""

import re
from importlib.resources import files

SCRIPTS = ("dom.js", "player.js", "chain.js")  # a script imports only from those before it
STYLE = "viewer.css"
MODULE_SYNTAX = re.compile(r"^import .*\n|^export ", re.MULTILINE)


def asset(name: str) -> str:
    """Return the text of one of the viewer's files."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def joined_scripts() -> str:
    """Return all scripts as one, for a page in a single file, where a module cannot import another one."""
    return "".join(MODULE_SYNTAX.sub("", asset(name)) for name in SCRIPTS)
