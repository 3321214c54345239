"""The fenced blocks and the links of a Markdown page.

A block of commands (`bash`, `console`) or of Python is run as it stands. A comment right before it says otherwise:

    <!-- not run: the reason -->
    <!-- run: what stands there => what is run instead ; and another pair -->
    <!-- run heavy -->              minutes long: by `pytest -m heavy` alone
    <!-- run, output differs -->    what it prints is not compared with what a `console` block shows
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
COMMANDS = ("bash", "console", "python")
SHOWN = ("text", "yaml", "bibtex", "json", "math", "toml")  # nothing to run
COMMENT = re.compile(
    r"<!-- *(not run|run)(?P<heavy> heavy)?(?P<differs>, output differs)?(?:: *(?P<rest>.*?))? *-->", re.S
)
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=fence) *$", re.S | re.M)
LINK = re.compile(r"(?<!`)\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A block of a page."""

    page: Path
    line: int  # of its fence
    kind: str
    text: str
    comment: re.Match | None

    @property
    def skipped(self) -> bool:
        return self.comment is not None and self.comment[1] == "not run"

    @property
    def heavy(self) -> bool:
        return self.comment is not None and bool(self.comment["heavy"])

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"

    def replaced(self) -> str:
        """Return the block as it is run."""
        text = self.text
        if self.comment and self.comment["rest"]:
            for pair in re.split(r"\s;\s", self.comment["rest"]):
                old, _, new = (part.strip() for part in pair.partition("=>"))
                assert old in text, f"{self}: the comment replaces {old!r}, which is not there"
                text = text.replace(old, " ".join(new.split()))
        return text


def blocks(page: Path) -> list[Block]:
    """Return every fenced block of a page, with the comment right before it."""
    source, found = page.read_text(encoding="utf-8"), []
    for fence in FENCE.finditer(source):
        before = source[: fence.start()].rstrip()
        comment = before[before.rfind("<!--") :] if before.endswith("-->") else ""
        line = source[: fence.start()].count("\n") + 1
        found.append(Block(page, line, fence["kind"].strip(), fence["text"], COMMENT.fullmatch(comment)))
    return found


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures, those in blocks of code left out."""
    return [link["target"] for link in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8")))]


def sessions(text: str) -> list[tuple[str, str]]:
    """Cut a `console` block into its commands, each with the output that is shown behind it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", "")
        else:
            assert found, f"output without a command: {line}"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found
