"""What a run of `fairseq-generate` printed (translations, references, cost), or one of `sample_mlm.py` wrote."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_mh.errors import UserError

OF_A_SENTENCE = re.compile(r"([A-Z])-(\d{1,18})(?:_\d+)?\t(.*)")  # kind, number, and what the line says
ROWS = re.compile(r"decoder rows so far: (\d+)")
SECONDS = re.compile(r"Translated .* in ([\d.]+)s")


class Output(NamedTuple):
    hypotheses: dict[int, str]  # sentence -> its best translation
    references: dict[int, str]  # empty where the data has none
    sources: dict[int, str]
    rows: int | None  # decoder rows, where this package decoded
    seconds: float | None  # spent in the decoder


def read_output(path: Path) -> Output:
    """Read a run's standard output, or its `--results-path` file, log lines included where there are any.

    Raises:
        UserError: where the file cannot be read or holds no translation.
    """
    hypotheses: dict[int, str] = {}
    references: dict[int, str] = {}
    sources: dict[int, str] = {}
    kept, rows, seconds = {"T": references, "S": sources}, None, None
    for line in readable_lines(path):
        if match := OF_A_SENTENCE.match(line):
            kind, number, rest = match[1], int(match[2]), match[3]
            if kind == "D":
                hypotheses.setdefault(number, rest.partition("\t")[2])  # the first of an n-best list
            elif kind in kept:
                kept[kind][number] = rest
        elif found := ROWS.search(line):
            rows = int(found[1])
        elif found := SECONDS.search(line):
            seconds = float(found[1])
    if not hypotheses:
        raise UserError(f"{path} holds no D- line: not the output of fairseq-generate, or of a run that failed")
    return Output(hypotheses, references, sources, rows, seconds)


def read_nbest(path: Path) -> dict[int, list[str]]:
    """All translations of each sentence, as printed.

    Raises:
        UserError: where the file cannot be read.
    """
    found: dict[int, list[str]] = {}
    for line in readable_lines(path):
        if (match := OF_A_SENTENCE.match(line)) and match[1] == "D":
            found.setdefault(int(match[2]), []).append(match[3].partition("\t")[2])
    return found


def read_lines(path: Path) -> list[str]:
    """A text's lines as fairseq counts them: not ended by U+2028 and its like, which may stand within one."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def readable_lines(path: Path) -> list[str]:
    """The same; raises UserError where the file cannot be read."""
    try:
        return read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The records of sample_mlm.py's `samples.jsonl`: `id`, `text`, and more.

    Raises:
        UserError: where the file cannot be read as one.
    """
    try:
        samples = [json.loads(line) for line in readable_lines(path) if line]
        return [{**sample, "id": sample["id"], "text": sample["text"]} for sample in samples]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no samples.jsonl of sample_mlm.py") from None


def in_order(hypotheses: dict[int, str], references: dict[int, str]) -> tuple[list[str], list[str]]:
    """Both sides of every sentence that was translated, by number.

    Raises:
        UserError: where a sentence has no reference.
    """
    numbers = sorted(hypotheses)
    missing = [number for number in numbers if number not in references]
    if missing:
        raise UserError(f"sentence {missing[0]} has no reference; give the right ones with --reference")
    return [hypotheses[n] for n in numbers], [references[n] for n in numbers]


def read_references(path: Path) -> dict[int, str]:
    """Plain text, a sentence a line, numbered from 0 as fairseq does.

    Raises:
        UserError: where the file cannot be read.
    """
    return dict(enumerate(readable_lines(path)))
