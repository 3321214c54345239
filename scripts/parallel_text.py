"""Functions that the gathering scripts share: unpacking packages, cleaning and splitting text, filtering pairs."""

import gzip
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = tuple[str, str, str]  # origin, English, German

DOUBLE_QUOTES, SINGLE_QUOTES = "\u201c\u201d\u201e\u201f«»", "\u2018\u2019\u201a\u2039\u203a"
QUOTES = str.maketrans(dict.fromkeys(DOUBLE_QUOTES, '"') | dict.fromkeys(SINGLE_QUOTES, "'"))
MENU_DASHES = ("-", "\u2013")  # the English and the German dash between a menu and its entry
MENU_ARROWS = re.compile(r"\s*[▸→➔]\s*")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-ZÄÖÜ])")
ABBREVIATION = re.compile(r"(?:\b(?:[A-Za-z]|e\.g|i\.e|z\.\s?B|d\.\s?h|bzw|etc|usw|vgl|vs|ca|Nr|No|Dr|engl|inkl))\.$")
MAX_RATIO = 2.5  # largest ratio of the numbers of characters of both sides
SLACK = 12  # number of characters by which texts may differ in addition
LETTERS = re.compile(r"[^\W\d_]{2}")
WORD = re.compile(r"[^\W\d_]+")
# Texts of FEW_WORDS German words or more may share at most this part of them with the English side.
MAX_SHARED, FEW_WORDS = 0.7, 4


def unpack(packages: Iterable[str], folder: Path) -> Path:
    """Download packages with apt and unpack them; return the folder that takes the place of the root."""
    subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return folder


def clean(english: str, german: str) -> tuple[str, str]:
    """Put each text on one line; use the help's quotes, and its dash between a menu and its entry."""
    sides = zip((english, german), MENU_DASHES, strict=True)
    en, de = (" ".join(MENU_ARROWS.sub(f" {dash} ", text.translate(QUOTES)).split()) for text, dash in sides)
    return en, de


def is_translation(english: str, german: str) -> bool:
    """Say whether two texts may be translations: both have words, the words differ, and the lengths are similar."""
    if not all(LETTERS.search(text) for text in (english, german)):
        return False
    originals, words = (WORD.findall(text.casefold()) for text in (english, german))
    shared = sum(word in originals for word in words)
    if originals == words or (len(words) >= FEW_WORDS and shared > MAX_SHARED * len(words)):
        return False
    shorter, longer = sorted((len(english), len(german)))
    return longer <= shorter * MAX_RATIO + SLACK


def sentences(text: str) -> list[str]:
    """Split a paragraph into sentences; the full stop of an abbreviation does not end a sentence."""
    parts: list[str] = []
    for part in SENTENCE_END.split(text):
        if parts and ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        else:
            parts.append(part)
    return parts


def split_pair(english: str, german: str) -> list[tuple[str, str]]:
    """Pair the sentences of two paragraphs, or the whole paragraphs if the sentences do not match."""
    pairs = list(zip(*map(sentences, (english, german)), strict=False))
    match = len(sentences(english)) == len(sentences(german)) and all(is_translation(*pair) for pair in pairs)
    return pairs if match else [(english, german)]


def distinct(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows without duplicates; rows that differ only in case and digits are duplicates."""
    seen = set()
    for row in rows:
        key = tuple(re.sub(r"\d+", "0", text.casefold()) for text in row[1:])
        if key not in seen:
            seen.add(key)
            yield row


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write origin, English and German to a .tsv.gz; equal rows give a file with equal bytes."""
    lines = ["\t".join(row) + "\n" for row in rows]
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as out:
        out.write("".join(lines).encode())
    print(f"{len(lines)} rows -> {path}")


def read_rows(path: Path) -> list[Row]:
    """Read a file that `write_rows` wrote."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return [(origin, english, german) for origin, english, german in rows]
