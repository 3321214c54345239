#!/usr/bin/env python3
"""Gather the descriptions of Debian's packages (English, German) from apt's lists.

    python -m scripts.gather_descriptions descriptions.tsv.gz

The program fetches the lists into its own folder with `apt-get update`, pairs the descriptions
with the same checksum, and writes package, English and German, separated by tabs. It pairs the
paragraphs if both descriptions have the same number of them, and the sentences if both paragraphs
have the same number of them. The text is for training only: each description is under its
package's licence.
"""

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.parallel_text import Row, clean, distinct, is_translation, split_pair, write_rows

READ_LIST = "/usr/lib/apt/apt-helper"
ITEM = re.compile(r"\s*(?:[*+•-]|\d+[.)])\s+")
LEFT_OVER = re.compile(r"\bhttps?://|\bftp://|[<>\\{}$~_|@]|===|---")
Descriptions = dict[str, tuple[str, list[str]]]  # checksum -> (package, paragraphs)


def fetch(folder: Path) -> Path:
    """Fetch the lists of packages in both languages, without touching the machine's own lists."""
    (folder / "partial").mkdir()
    options = ["-o", f"Dir::State::lists={folder}", "-o", "Acquire::Languages=de,en"]
    subprocess.run(["apt-get", "update", "--quiet", *options], check=True)
    return folder


def list_text(folder: Path, language: str) -> str:
    """Read the descriptions in one language from the main archive and its updates."""
    lists = sorted(folder.glob(f"*_i18n_Translation-{language}*"))
    return "\n\n".join(
        subprocess.run([READ_LIST, "cat-file", path], check=True, capture_output=True, encoding="utf-8").stdout
        for path in lists
    )


def paragraphs(lines: list[str]) -> list[str]:
    """Join the lines of a long description to paragraphs and list items; remove the items' marks."""
    found: list[str] = []
    fresh = True
    for line in lines:
        item = line.startswith("  ") and ITEM.match(line)
        if line.strip() == ".":
            fresh = True
        elif fresh or item or ITEM.match(line):
            found.append(ITEM.sub("", line, count=1).strip())
            fresh = False
        else:
            found[-1] += " " + line.strip()
    return found


def descriptions(text: str, language: str) -> Descriptions:
    """List the packages' descriptions: the short one, then the paragraphs of the long one."""
    found: Descriptions = {}
    for entry in text.split("\n\n"):
        head, mark, body = entry.partition(f"\nDescription-{language}: ")
        checksum = re.search(r"^Description-md5: (\w+)$", head, re.MULTILINE)
        package = re.search(r"^Package: (\S+)$", head, re.MULTILINE)
        if mark and checksum and package:
            short, *lines = body.split("\n")
            found[checksum[1]] = package[1], [short, *paragraphs(lines)]
    return found


def gather(english: Descriptions, german: Descriptions) -> Iterator[Row]:
    """Yield the rows of the descriptions that have the same number of paragraphs in both languages."""
    for checksum, (package, translated) in german.items():
        original = english.get(checksum, ("", []))[1]
        if len(original) != len(translated):
            continue
        for both in zip(original, translated, strict=True):
            sides = clean(*both)
            if not any(map(LEFT_OVER.search, sides)) and is_translation(*sides):
                yield from ((package, *pair) for pair in split_pair(*sides))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the .tsv.gz to write")
    parser.add_argument("--lists", type=Path, help="a folder of apt's lists in both languages; the default is to fetch")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lists = args.lists or fetch(Path(folder))
        both = [descriptions(list_text(lists, language), language) for language in ("en", "de")]
        write_rows(distinct(gather(*both)), args.output)


if __name__ == "__main__":
    main()
