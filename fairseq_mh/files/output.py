"""Reads what `fairseq-generate` printed (translations, references, cost) and what `fairseq-mh sample` wrote."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_mh.errors import UserError

SENTENCE_LINE = re.compile(r"([A-Z])-(\d{1,18})(?:_\d+)?\t(.*)")  # kind, sentence number, and the rest of the line
ROWS_LINE = re.compile(r"decoder rows so far: (\d+)")
SECONDS_LINE = re.compile(r"Translated .* in ([\d.]+)s")

NBest = dict[int, list[str]]  # sentence number -> candidates


class Output(NamedTuple):
    """The translations of a run and what they cost."""

    hypotheses: dict[int, str]  # sentence number -> best translation
    references: dict[int, str]  # empty where the data has none
    sources: dict[int, str]
    rows: int | None  # decoder rows; None where another decoder than this package's ran
    seconds: float | None  # spent in the decoder


def read_output(path: Path) -> Output:
    """Read a run's standard output, or its `--results-path` file, with or without log lines.

    Raises:
        UserError: where the file cannot be read or holds no translation.
    """
    hypotheses: dict[int, str] = {}
    references: dict[int, str] = {}
    sources: dict[int, str] = {}
    kept, rows, seconds = {"T": references, "S": sources}, None, None
    for line in readable_lines(path):
        if match := SENTENCE_LINE.match(line):
            kind, number, rest = match[1], int(match[2]), match[3]
            if kind == "D":
                hypotheses.setdefault(number, rest.partition("\t")[2])  # an n-best list begins with the best
            elif kind in kept:
                kept[kind][number] = rest
        elif found := ROWS_LINE.search(line):
            rows = int(found[1])
        elif found := SECONDS_LINE.search(line):
            seconds = float(found[1])
    if not hypotheses:
        raise UserError(f"{path} holds no D- line: not the output of fairseq-generate, or of a run that failed")
    return Output(hypotheses, references, sources, rows, seconds)


def first_sentences(output: Output, limit: int) -> Output:
    """Return an output with the translations of its first sentences alone; the cost stays that of all of them."""
    numbers = sorted(output.hypotheses)[:limit]
    return output._replace(hypotheses={number: output.hypotheses[number] for number in numbers})


def read_nbest(path: Path) -> NBest:
    """Return all translations of each sentence number, in the order in which they are printed.

    Raises:
        UserError: where the file cannot be read.
    """
    found: NBest = {}
    for line in readable_lines(path):
        if (match := SENTENCE_LINE.match(line)) and match[1] == "D":
            found.setdefault(int(match[2]), []).append(match[3].partition("\t")[2])
    return found


def pooled_nbest(paths: Iterable[Path], limit: int | None = None) -> NBest:
    """Return the candidates that several outputs hold for each sentence, each candidate once.

    Args:
        paths: outputs of `fairseq-generate`.
        limit: how many sentences to keep, those with the lowest numbers; None keeps all.

    Raises:
        UserError: where an output cannot be read.
    """
    found: dict[int, dict[str, None]] = {}
    for path in paths:
        for number, texts in read_nbest(path).items():
            found.setdefault(number, {}).update(dict.fromkeys(texts))
    return {number: list(texts) for number, texts in sorted(found.items())[:limit]}


def read_lines(path: Path) -> list[str]:
    """Return a text's lines as fairseq counts them: U+2028 and similar characters do not end a line."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def readable_lines(path: Path) -> list[str]:
    """Return a text's lines as `read_lines` does.

    Raises:
        UserError: where the file cannot be read.
    """
    try:
        return read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Read the records of a `samples.jsonl` that `fairseq-mh sample` wrote: each has `id`, `text` and more.

    Raises:
        UserError: where the file cannot be read, or is no such file.
    """
    try:
        samples = [json.loads(line) for line in readable_lines(path) if line]
        return [{**sample, "id": sample["id"], "text": sample["text"]} for sample in samples]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no samples.jsonl of fairseq-mh sample") from None


def in_order(hypotheses: dict[int, str], references: dict[int, str]) -> tuple[list[str], list[str]]:
    """Return the translations and their references as two lists, in the order of the sentence numbers.

    Raises:
        UserError: where a translated sentence has no reference.
    """
    numbers = sorted(hypotheses)
    missing = [number for number in numbers if number not in references]
    if missing:
        raise UserError(f"sentence {missing[0]} has no reference; give the right ones with --reference")
    return [hypotheses[n] for n in numbers], [references[n] for n in numbers]


def read_references(path: Path) -> dict[int, str]:
    """Read plain text with a sentence in each line, numbered from 0 as fairseq numbers sentences.

    Raises:
        UserError: where the file cannot be read.
    """
    return dict(enumerate(readable_lines(path)))
