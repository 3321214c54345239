#!/usr/bin/env python3
"""Prepare several corpora to retrain a model, whose splits, pieces and dictionary stay the same.

    python -m scripts.mix_corpora OUT --model models/libreoffice-de-en \\
        --help-text help.tsv.gz --corpus interface=interface.tsv.gz --corpus manuals=manuals.tsv.gz

The help consists of the model's own corpus and the rows of `--help-text`; only its training pages
are used. The program drops every pair that shares a side, or nearly shares it, with validation,
test or the reserve. It writes OUT/corpora (pieces) and OUT/counts.json. The function `mixture` then
makes a data folder of some of the corpora, and repeats each of them a given number of times.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import sentencepiece

from fairseq_mh.files.output import read_lines
from scripts.held_out import Pair, read_heldout, select_training_pairs, training_pages
from scripts.parallel_text import Row, read_rows
from scripts.prepare_data import binarise

ABOUT = Path(__file__).with_name("corpora.json")  # the sources and licences of the corpora
MAX_PIECES = 120
LANGUAGES = ("de", "en")


def fault_finder(pieces: sentencepiece.SentencePieceProcessor, dictionary: Path) -> Callable[[Pair], str | None]:
    """Return a function that names the reason why the model cannot read a pair, or returns None."""
    known = {line.rsplit(" ", 1)[0] for line in read_lines(dictionary)}

    def fault_of(pair: Pair) -> str | None:
        encoded = [pieces.encode(side, out_type=str) for side in pair]  # a list of two would start a thread for each
        if any(len(side) > MAX_PIECES for side in encoded):
            return "too long"
        if not all(piece in known for side in encoded for piece in side):
            return "unknown characters"
        return None

    return fault_of


def write_pieces(pairs: list[Pair], pieces: sentencepiece.SentencePieceProcessor, stem: Path) -> None:
    """Write both sides of a corpus in pieces, as STEM.de and STEM.en."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(LANGUAGES):
        encoded = pieces.encode([pair[side] for pair in pairs], out_type=str)
        lines = "".join(" ".join(line) + "\n" for line in encoded)
        stem.with_suffix(f".{language}").write_text(lines, encoding="utf-8")


def prepare(out: Path, model: Path, help_text: list[Row], corpora: dict[str, list[Row]]) -> dict[str, dict]:
    """Write every corpus in pieces.

    Args:
        out: the folder to write.
        model: the model's folder.
        help_text: more rows of the help.
        corpora: name -> rows of the other corpora.

    Returns:
        name of the corpus -> its source, its licence, and counts of its pairs and words.
    """
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model / "spm.model"))
    help_rows = read_rows(model / "en-de.tsv.gz") + help_text
    heldout = read_heldout(model, help_rows)
    fault_of = fault_finder(pieces, model / "dict.en.txt")
    counts: dict[str, dict] = {}
    about = json.loads(ABOUT.read_text(encoding="utf-8"))
    seen: set[Pair] = set()
    for name, rows in {"help": training_pages(help_rows), **corpora}.items():
        pairs, dropped = select_training_pairs(rows, heldout, seen, fault_of)
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
    """Make the data folder OUT/NAME from corpora, and from the model's own validation and test sets.

    Args:
        out: the folder that `prepare` wrote.
        model: the model's folder.
        name: the name of the data folder.
        corpora: name -> how many times the corpus is repeated.

    Returns:
        The data folder; an existing one is not changed.
    """
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
    """Split NAME=FILE into the name and the file."""
    name, _, path = argument.partition("=")
    return name, Path(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--model", type=Path, default=Path("models/libreoffice-de-en"), help="the model's folder")
    parser.add_argument("--help-text", type=Path, help="more of the help, a .tsv.gz that align_help.py wrote")
    parser.add_argument("--corpus", type=named_file, action="append", default=[], help="NAME=FILE; FILE is a .tsv.gz")
    args = parser.parse_args()
    help_text = read_rows(args.help_text) if args.help_text else []
    counts = prepare(args.output, args.model, help_text, {name: read_rows(path) for name, path in args.corpus})
    (args.output / "counts.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
