"""Reads the output of `fairseq-generate` (translations, references, cost) and of `fairseq-mh sample`."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_mh.errors import UserError, reason

SENTENCE_LINE = re.compile(r"([A-Z])-(\d{1,18})(?:_\d+)?\t(.*)")  # kind, sentence number, and the rest of the line
ROWS_LINE = re.compile(r"decoder rows so far: (\d+)")
SECONDS_LINE = re.compile(r"Translated .* in ([\d.]+)s")

NBest = dict[int, list[str]]  # sentence number -> candidates


class Output(NamedTuple):
    """The translations of a run, and their cost."""

    hypotheses: dict[int, str]  # sentence number -> best translation
    references: dict[int, str]  # empty if the data has none
    sources: dict[int, str]
    rows: int | None  # decoder rows; None if the decoder was not one of this package
    seconds: float | None  # time in the decoder


def read_output(path: Path) -> Output:
    """Read the standard output of a run or its `--results-path` file, with or without log lines.

    Raises:
        UserError: if the file cannot be read or holds no translation.
    """
    hypotheses: dict[int, str] = {}
    references: dict[int, str] = {}
    sources: dict[int, str] = {}
    texts, lines = {"T": references, "S": sources}, readable_lines(path)
    for match in filter(None, map(SENTENCE_LINE.match, lines)):
        kind, number, rest = match[1], int(match[2]), match[3]
        if kind == "D":
            hypotheses.setdefault(number, rest.partition("\t")[2])  # an n-best list begins with the best
        elif kind in texts:
            texts[kind][number] = rest
    if not hypotheses:
        raise UserError(f"{path} holds no D- line: it is not an output of fairseq-generate, or the run failed")
    return Output(hypotheses, references, sources, *cost_of(lines))


def cost_of(lines: Iterable[str]) -> tuple[int | None, float | None]:
    """Return the decoder rows and seconds that the log lines of a run tell; None for what they do not tell."""
    log = [line for line in lines if not SENTENCE_LINE.match(line)]
    rows, seconds = (list(filter(None, map(kind.search, log))) for kind in (ROWS_LINE, SECONDS_LINE))
    return int(rows[-1][1]) if rows else None, float(seconds[-1][1]) if seconds else None


def first_sentences(output: Output, limit: int) -> Output:
    """Return an output with only the translations of its first sentences; its cost is still that of all sentences."""
    numbers = sorted(output.hypotheses)[:limit]
    return output._replace(hypotheses={number: output.hypotheses[number] for number in numbers})


def pooled_nbest(paths: Iterable[Path], limit: int | None = None) -> NBest:
    """Return the distinct translations of each sentence in several outputs, in their printed order.

    Args:
        paths: outputs of `fairseq-generate`.
        limit: number of sentences to keep, in the order of their numbers; None: all sentences.

    Raises:
        UserError: if an output cannot be read.
    """
    found: dict[int, dict[str, None]] = {}
    for path in paths:
        for line in readable_lines(path):
            if (match := SENTENCE_LINE.match(line)) and match[1] == "D":
                found.setdefault(int(match[2]), {})[match[3].partition("\t")[2]] = None
    return {number: list(texts) for number, texts in sorted(found.items())[:limit]}


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text as fairseq counts them: U+2028 and similar characters do not end a line."""
    return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def readable_lines(path: Path) -> list[str]:
    """Return the lines of a text, as `read_lines` does.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        return read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from None


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Read the records of a `samples.jsonl` from `fairseq-mh sample`; each has at least `id` and `text`.

    Raises:
        UserError: if the file cannot be read, or is not such a file.
    """
    try:
        samples = [json.loads(line) for line in readable_lines(path) if line]
        return [{**sample, "id": sample["id"], "text": sample["text"]} for sample in samples]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a samples.jsonl from fairseq-mh sample") from None


def in_order(hypotheses: dict[int, str], references: dict[int, str]) -> tuple[list[str], list[str]]:
    """Return the translations and their references as two lists, in the order of the sentence numbers.

    Raises:
        UserError: if a translated sentence has no reference.
    """
    numbers = sorted(hypotheses)
    missing = [number for number in numbers if number not in references]
    if missing:
        raise UserError(f"sentence {missing[0]} has no reference: give --reference a file with a line for each")
    return [hypotheses[n] for n in numbers], [references[n] for n in numbers]


def read_references(path: Path) -> dict[int, str]:
    """Read plain text with one sentence per line, numbered from 0 as in fairseq.

    Raises:
        UserError: if the file cannot be read.
    """
    return dict(enumerate(readable_lines(path)))
