#!/usr/bin/env python3
"""Gather the manuals of GNOME and GIMP (English, German) from Debian's packages.

    python -m scripts.gather_manuals manuals.tsv.gz

The program downloads `gnome-user-docs`, `gimp-help-en` and `gimp-help-de` with `apt-get download`,
pairs the blocks of text on pages that have the same blocks in both languages, and writes page,
English and German, separated by tabs. GNOME's text is CC BY-SA 3.0 and GIMP's is GFDL 1.2 or later,
so it is for training only.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from scripts.parallel_text import Row, clean, distinct, is_translation, split_pair, unpack, write_rows

PACKAGES = ("gnome-user-docs", "gimp-help-en", "gimp-help-de")
MANUALS = {  # English folder, German folder, pages
    "gnome": ("usr/share/help/C", "usr/share/help/de", "*/*.page"),
    "gimp": ("usr/share/gimp/2.0/help/en", "usr/share/gimp/2.0/help/de", "*.html"),
}
BLOCKS = {"p", "title", "desc", "td", "th", "tr", "li", "dt", "dd", "item", "div", "caption", "body", "page", "section"}
BLOCKS |= {f"h{level}" for level in range(1, 7)}
LEFT_OUT = {"head", "credit", "code", "screen", "pre", "script", "style", "revision", "comment"}
LEFT_OUT_CLASSES = {"navheader", "navfooter", "toc"}
MISSING = "\ufffc"  # stands for text that the page does not contain (a link without words) or for code
NUMBER = re.compile(
    r"^(?:(?:Figure|Table|Example|Abbildung|Tabelle|Beispiel|Chapter|Kapitel|Appendix|Anhang)\s)?[A-Z\d]+(?:\.\d+)*\.\s+"
)
LEFT_OVER = re.compile(rf"\bhttps?://|[<>\\{{}}$~_|@{MISSING}]|--")
Block = tuple[str, str]  # tag, text


def blocks(root: ElementTree.Element) -> list[Block]:
    """List the innermost blocks of text of a page, in their order."""
    found: list[Block] = []
    parts: list[str] = []

    def close(tag: str) -> None:
        text = " ".join("".join(parts).split())
        parts.clear()
        if text:
            found.append((tag, text))

    def walk(element: ElementTree.Element, block: str) -> None:
        tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else "comment"
        if tag in LEFT_OUT or element.get("class") in LEFT_OUT_CLASSES:
            parts.append(MISSING if tag == "code" else "")
            return
        if tag in BLOCKS:
            close(block)
            block = tag
        parts.append(element.text or "")
        if tag == "link" and element.get("xref") and not element.text and not len(element):
            parts.append(MISSING if parts[:-1] and "".join(parts).strip() else "")
        for child in element:
            walk(child, block)
            parts.append(child.tail or "")
        if tag in BLOCKS:
            close(block)

    walk(root, "")
    return found


def read_blocks(page: Path) -> list[Block]:
    """Read the blocks of a page; return none if the page is not valid XML."""
    try:
        return blocks(ElementTree.fromstring(page.read_bytes()))
    except ElementTree.ParseError:
        return []


def pair_pages(english: list[Block], german: list[Block]) -> Iterator[tuple[str, str]]:
    """Yield pairs of text of two pages if the pages have the same blocks, and nothing otherwise."""
    if [tag for tag, _ in english] != [tag for tag, _ in german]:
        return
    for (_, en), (_, de) in zip(english, german, strict=True):
        sides = clean(NUMBER.sub("", en), NUMBER.sub("", de))
        if not any(map(LEFT_OVER.search, sides)) and is_translation(*sides):
            yield from split_pair(*sides)


def gather(root: Path) -> Iterator[Row]:
    """Yield the rows of both manuals, and print how many pages could be paired."""
    for manual, (english, german, pattern) in MANUALS.items():
        pages = [page.relative_to(root / english) for page in sorted((root / english).glob(pattern))]
        paired = 0
        for page in pages:
            if (root / german / page).exists():
                rows = list(pair_pages(read_blocks(root / english / page), read_blocks(root / german / page)))
                paired += bool(rows)
                yield from ((f"{manual}/{page}", *pair) for pair in rows)
        print(f"{manual}: {paired} of {len(pages)} pages")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the .tsv.gz to write")
    parser.add_argument("--root", type=Path, help="the unpacked packages; the default is to download")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_rows(distinct(gather(args.root or unpack(PACKAGES, Path(folder)))), args.output)


if __name__ == "__main__":
    main()
