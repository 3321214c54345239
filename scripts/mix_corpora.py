#!/usr/bin/env python3
"""Prepare several corpora to train a model anew whose splits, pieces and dictionary stay as they are.

    python -m scripts.mix_corpora OUT --model models/libreoffice-de-en \\
        --help-text help.tsv.gz --corpus interface=interface.tsv.gz --corpus manuals=manuals.tsv.gz

The help is the model's own corpus and what `--help-text` adds to it; of both only the training
pages are taken. No pair of any corpus is kept that shares a side, or nearly shares it, with
validation, test or the reserve. Writes OUT/corpora (pieces), OUT/raw, OUT/spm and OUT/counts.json;
`mixture` then makes a data folder of some of the corpora, each as many times as it is told.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import sentencepiece

from fairseq_mh.files.output import read_lines
from scripts.held_out import Pair, for_training, read_heldout, training_pages
from scripts.parallel_text import Row, read_rows
from scripts.prepare_data import binarise

ABOUT = Path(__file__).with_name("corpora.json")  # where the corpora come from, and under which licence
MAX_PIECES = 120
LANGUAGES = ("de", "en")


def unfit_for(pieces: sentencepiece.SentencePieceProcessor, dictionary: Path) -> Callable[[Pair], str | None]:
    """Make the test for what the model cannot read, or not at such length."""
    known = {line.rsplit(" ", 1)[0] for line in read_lines(dictionary)}

    def unfit(pair: Pair) -> str | None:
        encoded = pieces.encode(list(pair), out_type=str)
        if any(len(side) > MAX_PIECES for side in encoded):
            return "too long"
        if not all(piece in known for side in encoded for piece in side):
            return "unknown characters"
        return None

    return unfit


def write_pieces(pairs: list[Pair], pieces: sentencepiece.SentencePieceProcessor, stem: Path) -> None:
    """Write both sides of a corpus in pieces: STEM.de and STEM.en."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(LANGUAGES):
        encoded = pieces.encode([pair[side] for pair in pairs], out_type=str)
        lines = "".join(" ".join(line) + "\n" for line in encoded)
        stem.with_suffix(f".{language}").write_text(lines, encoding="utf-8")


def prepare(out: Path, model: Path, help_text: list[Row], corpora: dict[str, list[Row]]) -> dict[str, dict]:
    """Write every corpus in pieces; returns the counts by corpus, beside what is known about it."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model / "spm.model"))
    help_rows = read_rows(model / "en-de.tsv.gz") + help_text
    heldout = read_heldout(model, help_rows)
    unfit = unfit_for(pieces, model / "dict.en.txt")
    counts: dict[str, dict] = {}
    about = json.loads(ABOUT.read_text(encoding="utf-8"))
    seen: set[Pair] = set()
    for name, rows in {"help": training_pages(help_rows), **corpora}.items():
        pairs, dropped = for_training(rows, heldout, seen, unfit)
        write_pieces(pairs, pieces, out / "corpora" / name)
        words = [sum(len(pair[side].split()) for pair in pairs) for side in range(2)]
        counts[name] = about.get(name, {}) | {
            "read": len(rows),
            "kept": len(pairs),
            "dropped": dict(sorted(dropped.items())),
        }
        counts[name]["words"] = dict(zip(LANGUAGES, words, strict=True))
    return counts


def mixture(out: Path, model: Path, name: str, corpora: dict[str, int]) -> Path:
    """Make OUT/NAME, a data folder: the corpora, each so many times, and the model's own validation and test."""
    data, text = out / name, out / f"{name}_text"
    if (data / "train.de-en.en.idx").exists():
        return data
    text.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES:
        parts = [
            (out / "corpora" / f"{corpus}.{language}").read_text(encoding="utf-8") * n for corpus, n in corpora.items()
        ]
        (text / f"train.{language}").write_text("".join(parts), encoding="utf-8")
    for path in (*model.glob("valid.de-en.*"), *model.glob("test.de-en.*")):
        data.mkdir(exist_ok=True)
        shutil.copy(path, data)
    binarise(text, data, model / "dict.en.txt")
    shutil.rmtree(text)
    return data


def named_file(argument: str) -> tuple[str, Path]:
    """Read NAME=FILE."""
    name, _, path = argument.partition("=")
    return name, Path(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--model", type=Path, default=Path("models/libreoffice-de-en"), help="the model's folder")
    parser.add_argument("--help-text", type=Path, help="more of the help: a .tsv.gz of align_help.py")
    parser.add_argument("--corpus", type=named_file, action="append", default=[], help="NAME=FILE, a .tsv.gz")
    args = parser.parse_args()
    help_text = read_rows(args.help_text) if args.help_text else []
    counts = prepare(args.output, args.model, help_text, {name: read_rows(path) for name, path in args.corpus})
    (args.output / "counts.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
