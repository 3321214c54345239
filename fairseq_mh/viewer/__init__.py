"""The viewer of chains that the page and the report share: scripts and a style, which need nothing from outside."""

import re
from importlib.resources import files

SCRIPTS = ("dom.js", "player.js", "chain.js")  # each imports from those before it alone
STYLE = "viewer.css"
BETWEEN_MODULES = re.compile(r"^import .*\n|^export ", re.MULTILINE)


def asset(name: str) -> str:
    """Return one of the viewer's files."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def joined_scripts() -> str:
    """Return the scripts as one, for a page that is a single file, in which no module can name another one."""
    return "".join(BETWEEN_MODULES.sub("", asset(name)) for name in SCRIPTS)
