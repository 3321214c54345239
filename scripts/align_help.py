#!/usr/bin/env python3
"""Make the aligned LibreOffice help corpus (English, German) from Debian's packages.

    python -m scripts.align_help en-de.tsv.gz
    python -m scripts.align_help help.tsv.gz --words 1 100    # short and long paragraphs too

The program downloads `libreoffice-help-en-us` and `libreoffice-help-de` with `apt-get download`,
pairs the paragraphs with the same page and id, and writes page, English and German, separated by
tabs. The help is MPL-2.0 (see the packages' copyright files), and so is the output.
"""

import argparse
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from scripts.parallel_text import unpack, write_rows

PACKAGES, HELP = ("libreoffice-help-en-us", "libreoffice-help-de"), "usr/share/libreoffice/help"
VOID = {"img", "br", "meta", "link", "input", "hr", "wbr", "col"}  # tags that are never closed
WORDS = (4, 60)  # fewest and most words of the English side
TAGS = {"p", "h1", "h2", "h3", "h4", "h5", "h6"}
OTHER_SYSTEM = "MAC"  # the class of text that the help shows only on macOS


class Paragraphs(HTMLParser):
    """A parser that collects the text, for Linux, of paragraphs and headings that have an id: id -> text."""

    def __init__(self):
        super().__init__()
        self.texts: dict[str, str] = {}
        self._id: str | None = None  # id of the open paragraph
        self._depth = 0  # number of open elements, including the paragraph
        self._left_out = 0  # depth of the element whose text is left out, or 0
        self._parts: list[str] = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if self._id is None:
            if tag in TAGS and attributes.get("id"):
                self._id, self._depth, self._left_out, self._parts = attributes["id"], 1, 0, []
        elif tag == "br":
            self._parts.append(" ")
        elif tag not in VOID:
            self._depth += 1
            if attributes.get("class") == OTHER_SYSTEM:
                self._left_out = self._left_out or self._depth

    def handle_endtag(self, tag):
        if self._id is None or tag in VOID:
            return
        if self._depth == self._left_out:
            self._left_out = 0
        self._depth -= 1
        if self._depth == 0:
            self.texts.setdefault(self._id, " ".join("".join(self._parts).split()))
            self._id = None

    def handle_data(self, data):
        if self._id is not None and not self._left_out:
            self._parts.append(data)


def paragraphs(page: Path) -> dict[str, str]:
    parser = Paragraphs()
    parser.feed(page.read_text(encoding="utf-8", errors="strict"))
    return parser.texts


def align(root: Path, words: tuple[int, int] = WORDS) -> list[tuple[str, str, str]]:
    """Pair the paragraphs that both languages have; of equal pairs, keep the first.

    Args:
        root: the folder of the help, with a folder for each language.
        words: fewest and most words of the English side.

    Returns:
        (page, English, German) for each pair.
    """
    fewest, most = words
    pairs: dict[tuple[str, str], str] = {}
    for page in sorted((root / "en-US").rglob("*.html")):
        name = page.relative_to(root / "en-US")
        if not (root / "de" / name).exists():
            continue
        german = paragraphs(root / "de" / name)
        for key, text in paragraphs(page).items():
            if fewest <= len(text.split()) <= most and german.get(key, text) != text:
                pairs.setdefault((text, german[key]), str(name))
    return [(page, en, de) for (en, de), page in pairs.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the .tsv.gz to write")
    parser.add_argument("--root", type=Path, help="an unpacked .../libreoffice/help folder; the default is to download")
    parser.add_argument("--words", type=int, nargs=2, default=WORDS, help="fewest and most words of the English side")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = align(args.root or unpack(PACKAGES, Path(folder)) / HELP, tuple(args.words))
    write_rows(rows, args.output)


if __name__ == "__main__":
    main()
