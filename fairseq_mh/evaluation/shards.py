"""Outputs of `fairseq-generate` by shards (`--distributed-world-size`, `--distributed-rank`), as one."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.output import OF_A_SENTENCE, ROWS, SECONDS, readable_lines

TRANSLATED = re.compile(r"Translated ([\d,]{1,20}) sentences")
END = "Generate "  # begins the last line of a run that has references


def merged(paths: Sequence[Path], gaps: bool, sentences: int | None = None) -> list[str]:
    """The lines of all sentences, by number, and the shards' decoder rows and seconds together.

    Args:
        gaps: whether sentences may be missing.
        sentences: how many there must be; the last ones are missed by nobody else.

    Raises:
        UserError: where a file cannot be read or is cut off, or a sentence is in two of them, or, unless `gaps`, in
            none.
    """
    found: dict[int, list[str]] = {}
    costs = []
    for path in paths:
        lines = readable_lines(path)
        own = _sentences(path, lines)
        if twice := found.keys() & own:
            raise UserError(f"sentence {min(twice)} is in {path}, and in a file before it")
        found |= own
        costs.append(_cost(lines))
    missing = next((n for n, number in enumerate(sorted(found)) if n != number), None)
    if missing is not None and not gaps:
        raise UserError(f"sentence {missing} is in none of the files (if it was left out as too long: --gaps)")
    if sentences not in (None, len(found)):
        raise UserError(f"{len(found)} sentences are in the files, and not {sentences}")
    lines = [line for number in sorted(found) for line in found[number]]
    return lines + _told(len(found), costs)


def _sentences(path: Path, lines: list[str]) -> dict[int, list[str]]:
    """A shard's lines of each sentence."""
    found: dict[int, list[str]] = {}
    for line in lines:
        if match := OF_A_SENTENCE.match(line):
            found.setdefault(int(match[2]), []).append(line)
    if not found:
        raise UserError(f"{path} holds no sentence: not the output of fairseq-generate, or of a run that failed")
    for number, own in found.items():
        kinds = Counter(line[0] for line in own)
        if not kinds["H"] == kinds["D"] == kinds["P"] or not kinds["H"]:
            raise UserError(f"{path} is cut off in sentence {number}")
        if kinds["S"] > 1:
            raise UserError(f"{path} holds sentence {number} twice: two runs wrote to it")
    if any(line.startswith("T-") for line in lines) and not any(line.startswith(END) for line in lines):
        raise UserError(f"{path} is cut off: its last line ({END}...) is missing")
    told = [int(match[1].replace(",", "")) for line in lines if (match := TRANSLATED.search(line))]
    if told and told[-1] != len(found):
        raise UserError(f"{path} holds {len(found)} sentences, and its log tells of {told[-1]}")
    return found


def _cost(lines: list[str]) -> tuple[int | None, float | None]:
    """Decoder rows and seconds, as far as the log says."""
    rows = [int(match[1]) for line in lines if (match := ROWS.search(line))]
    seconds = [float(match[1]) for line in lines if (match := SECONDS.search(line))]
    return rows[-1] if rows else None, seconds[-1] if seconds else None


def _told(sentences: int, costs: list[tuple[int | None, float | None]]) -> list[str]:
    """The sums, in the words of the log, where every shard has them."""
    rows, seconds = zip(*costs, strict=True)
    lines = [] if None in rows else [f"{sentences} sentences, decoder rows so far: {sum(rows)}"]
    return lines + ([] if None in seconds else [f"Translated {sentences} sentences in {sum(seconds):.1f}s"])
