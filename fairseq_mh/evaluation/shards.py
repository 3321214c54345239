"""Merges the outputs of `fairseq-generate`'s shards (`--distributed-world-size`, `--distributed-rank`)."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fairseq_mh.errors import UserError
from fairseq_mh.files.output import SENTENCE_LINE, cost_of, readable_lines

TRANSLATED_LINE = re.compile(r"Translated ([\d,]{1,20}) sentences")
NO_SENTENCES = "Translated 0 sentences: "  # the log line of a shard without sentences
LAST_LINE = "Generate "  # the beginning of the last line of a run that has references


def merged(paths: Sequence[Path], gaps: bool, sentences: int | None = None) -> list[str]:
    """Return the lines of all sentences in the order of their numbers, then lines with the total cost of the shards.

    Args:
        paths: the shards' outputs.
        gaps: whether sentences may be missing.
        sentences: the expected number of sentences. Without it, missing last sentences go unnoticed.

    Raises:
        UserError: if a file cannot be read or is cut off, if two files hold the same sentence, or, without `gaps`, if
            a sentence is missing.
    """
    found: dict[int, list[str]] = {}
    costs = []
    for path in paths:
        lines = readable_lines(path)
        own = _sentences(path, lines)
        if twice := found.keys() & own:
            raise UserError(f"sentence {min(twice)} is in {path} and in an earlier file")
        found |= own
        if own:
            costs.append(cost_of(lines))
    missing = next((n for n, number in enumerate(sorted(found)) if n != number), None)
    if missing is not None and not gaps:
        raise UserError(f"sentence {missing} is in none of the files (--gaps allows this if it was too long)")
    if not found:
        raise UserError("none of the files holds a sentence")
    if sentences not in (None, len(found)):
        raise UserError(f"the files hold {len(found)} sentences, not {sentences}")
    lines = [line for number in sorted(found) for line in found[number]]
    return lines + _cost_lines(len(found), costs)


def _sentences(path: Path, lines: list[str]) -> dict[int, list[str]]:
    """Return the lines of each sentence of a shard, by sentence number."""
    found: dict[int, list[str]] = {}
    for line in lines:
        if match := SENTENCE_LINE.match(line):
            found.setdefault(int(match[2]), []).append(line)
    if not found and any(NO_SENTENCES in line for line in lines):
        return {}  # there were fewer batches than shards
    if not found:
        raise UserError(f"{path} holds no sentence: it is not an output of fairseq-generate, or the run failed")
    for number, own in found.items():
        kinds = Counter(line[0] for line in own)
        if not kinds["H"] == kinds["D"] == kinds["P"] or not kinds["H"]:
            raise UserError(f"{path} is cut off in sentence {number}")
        if kinds["S"] > 1:
            raise UserError(f"{path} holds sentence {number} twice: two runs wrote to it")
    if any(line.startswith("T-") for line in lines) and not any(line.startswith(LAST_LINE) for line in lines):
        raise UserError(f"{path} is cut off: its last line ({LAST_LINE}...) is missing")
    logged = [int(match[1].replace(",", "")) for line in lines if (match := TRANSLATED_LINE.search(line))]
    if logged and logged[-1] != len(found):
        raise UserError(f"{path} holds {len(found)} sentences, but its log says {logged[-1]}")
    return found


def _cost_lines(sentences: int, costs: list[tuple[int | None, float | None]]) -> list[str]:
    """Return the totals as log lines; a total is left out if a shard does not tell its part."""
    rows, seconds = zip(*costs, strict=True)
    lines = [] if None in rows else [f"{sentences} sentences, decoder rows so far: {sum(rows)}"]
    return lines + ([] if None in seconds else [f"Translated {sentences} sentences in {sum(seconds):.1f}s"])
