#!/usr/bin/env python3
"""Split, encode and binarise an aligned corpus into a fairseq data folder (De→En).

    python -m scripts.prepare_data en-de.tsv.gz OUT

Each line of the corpus holds page, English and German (`align_help.py` writes it). Every page
belongs to only one split; a share of the pages is a reserve that is not used at all. The program
writes OUT/raw (text), OUT/spm.model, OUT/spm (pieces) and OUT/data (dictionaries and binarised
splits).
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import sentencepiece

from fairseq_mh.files.output import read_lines
from scripts.parallel_text import read_rows

RESERVE_PERCENT = 3
HELDOUT_PERCENT = 4  # share of the pages for test, and the same share for validation
HELDOUT_SEGMENTS = 500
HELDOUT_WORDS = range(3, 26)
VOCABULARY = 5000

Pair = tuple[str, str]  # German, English


def bucket(salt: str, page: str) -> int:
    return int(hashlib.sha256(f"{salt}/{page}".encode()).hexdigest(), 16) % 100


def split_of(page: str) -> str | None:
    """Return the split of a page; None for the reserve."""
    if bucket("heldout", page) < RESERVE_PERCENT:
        return None
    share = bucket("split", page)
    return "test" if share < HELDOUT_PERCENT else "valid" if share < 2 * HELDOUT_PERCENT else "train"


def split(rows: list[tuple[str, str, str]]) -> dict[str, list[Pair]]:
    """Split rows by page; held-out segments share neither side with training, regardless of case."""
    splits: dict[str, dict[Pair, None]] = {"train": {}, "valid": {}, "test": {}}
    for page, english, german in rows:
        name = split_of(page)
        if name is not None and german != english:
            splits[name][german, english] = None
    seen = {side.casefold() for pair in splits["train"] for side in pair}

    def heldout(pair: Pair) -> bool:
        return all(len(side.split()) in HELDOUT_WORDS and side.casefold() not in seen for side in pair)

    result = {"train": list(splits["train"])}
    for name in ("valid", "test"):
        chosen = sorted(filter(heldout, splits[name]), key=lambda pair: hashlib.sha256(repr(pair).encode()).digest())
        result[name] = chosen[:HELDOUT_SEGMENTS]
    return result


def write_text(splits: dict[str, list[Pair]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in splits.items():
        for side, language in enumerate(("de", "en")):
            lines = "".join(pair[side] + "\n" for pair in pairs)
            (folder / f"{name}.{language}").write_text(lines, encoding="utf-8")


def train_pieces(raw: Path, model: Path) -> None:
    """Train one byte-pair vocabulary for both languages, so that all embeddings can be shared."""
    sentencepiece.SentencePieceTrainer.train(
        input=[str(raw / "train.de"), str(raw / "train.en")],
        model_prefix=str(model.with_suffix("")),
        model_type="bpe",
        vocab_size=VOCABULARY,
        character_coverage=1.0,
        minloglevel=2,
    )


def encode(raw: Path, pieces: Path, model: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces.mkdir(exist_ok=True)
    for path in raw.iterdir():
        lines = read_lines(path)
        encoded = (" ".join(line) for line in processor.encode(lines, out_type=str))
        (pieces / path.name).write_text("".join(line + "\n" for line in encoded), encoding="utf-8")


def binarise(pieces: Path, data: Path, dictionary: Path | None = None) -> None:
    """Run `fairseq-preprocess` with a joined dictionary, which it makes from the training split if none is given."""
    command = [sys.executable, "-m", "fairseq_cli.preprocess", "-s", "de", "-t", "en", "--joined-dictionary"]
    command += ["--trainpref", str(pieces / "train")]
    command += ["--srcdict", str(dictionary)] if dictionary else []
    for name in ("valid", "test"):
        if (pieces / f"{name}.de").exists():
            command += [f"--{name}pref", str(pieces / name)]
    subprocess.run([*command, "--destdir", str(data)], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="a .tsv.gz of page, English and German")
    parser.add_argument("output", type=Path, help="the folder to write")
    args = parser.parse_args()
    splits = split(read_rows(args.corpus))
    raw, pieces, model = args.output / "raw", args.output / "spm", args.output / "spm.model"
    write_text(splits, raw)
    train_pieces(raw, model)
    encode(raw, pieces, model)
    binarise(pieces, args.output / "data")
    print({name: len(pairs) for name, pairs in splits.items()})


if __name__ == "__main__":
    main()
