#!/usr/bin/env python3
"""Gather the text of LibreOffice's menus, dialogs and tips (English, German) from Debian's package.

    python -m scripts.gather_interface interface.tsv.gz

The program downloads `libreoffice-l10n-de` with `apt-get download`, reads its message catalogues,
and writes catalogue, English and German, separated by tabs. The text is LibreOffice's (MPL-2.0).
"""

import argparse
import gettext
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.parallel_text import Row, clean, distinct, is_translation, split_pair, unpack, write_rows

PACKAGE = "libreoffice-l10n-de"
CATALOGUES = "usr/lib/libreoffice/program/resource/de/LC_MESSAGES"
CONTEXT = "\x04"  # separates a message's context from its text
VALUES = {  # variable -> its English and its German value
    "%PRODUCTNAME": ("LibreOffice", "LibreOffice"),
    "%PRODUCTVERSION": ("7.4", "7.4"),
    "%MOD1": ("Ctrl", "Strg"),
    "%MOD2": ("Alt", "Alt"),
}
VARIABLE = re.compile(
    r"\$\(ARG\d\)|\$\(\w+\)|%\{\w+\}|\$\{\w+\}|\$\w+\$|\$[A-Z0-9]+\b|%[A-Z_]{3,}|%\d|#\d|#\w+#|(?<=\W)#(?=\W)"
)
NAMES = "ABCDEFGH"  # letters that replace variables in the text
LEFT_OVER = re.compile(r"[<>\\{}$~_|]|%[A-Za-z]|&[a-z]+;|^#|\bhttps?://")
ACCESS_KEY = re.compile(r"[~_](?=\w)|(?<=\w)_(?=\W|$)")


def without_access_key(text: str) -> str:
    """Remove the mark of a menu entry's access key; if there are several marks, none of them marks a key."""
    found = ACCESS_KEY.findall(text)
    return ACCESS_KEY.sub("", text) if len(found) == 1 else text


def name_variables(english: str, german: str) -> tuple[str, str] | None:
    """Replace variables by values, or by the same letters on both sides.

    Returns:
        English and German, or None if the two sides have different variables or too many.
    """
    for variable, (in_english, in_german) in VALUES.items():
        english, german = english.replace(variable, in_english), german.replace(variable, in_german)
    order = list(dict.fromkeys(VARIABLE.findall(english)))
    if set(order) != set(VARIABLE.findall(german)) or len(order) > len(NAMES):
        return None
    for text_name, variable in zip(NAMES, order, strict=False):
        english, german = english.replace(variable, text_name), german.replace(variable, text_name)
    return english, german


def messages(catalogue: Path) -> Iterator[tuple[str, str]]:
    """Yield the English and German text of a catalogue's messages, plurals included."""
    with catalogue.open("rb") as file:
        translations = gettext.GNUTranslations(file)
    for key, german in translations._catalog.items():  # the standard library has no other way to list them
        name, plural = key if isinstance(key, tuple) else (key, 0)
        english = name.split(CONTEXT)[-1]
        if english and not plural:  # the catalogue has no English plurals
            yield english, german


def pairs(english: str, german: str) -> Iterator[tuple[str, str]]:
    """Yield the text of a message with its translation, line by line if both have the same number of lines."""
    sides = name_variables(english, german)
    if sides is None:
        return
    lines = [[line for line in side.split("\n") if line.strip()] for side in sides]
    if len(lines[0]) != len(lines[1]):
        lines = [[" ".join(side)] for side in lines]
    for both in zip(*lines, strict=True):
        en, de = clean(*map(without_access_key, both))
        if not any(map(LEFT_OVER.search, (en, de))) and is_translation(en, de):
            yield from split_pair(en, de) if len(en.split()) > 60 else [(en, de)]


def gather(folder: Path) -> list[Row]:
    """List the distinct rows of all catalogues, in their order."""
    rows = (
        (catalogue.stem, *pair)
        for catalogue in sorted(folder.glob("*.mo"))
        for message in messages(catalogue)
        for pair in pairs(*message)
    )
    return list(distinct(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the .tsv.gz to write")
    parser.add_argument("--root", type=Path, help="the unpacked package; the default is to download")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_rows(gather((args.root or unpack([PACKAGE], Path(folder))) / CATALOGUES), args.output)


if __name__ == "__main__":
    main()
