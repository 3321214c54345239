"""The worker that loads the model and translates spans of lines into chunks."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_mh.corpus.records import record_of
from fairseq_mh.corpus.sources import Source, Span, read, with_phrases
from fairseq_mh.errors import UserError
from fairseq_mh.translation.generator import MANY
from fairseq_mh.translation.results import SentenceResult, SweepRecord
from fairseq_mh.translator import Found, Translator

UNTRANSLATED = "untranslated: "  # the first part of the name of a count; the kind of reason follows


class Job(NamedTuple):
    """The settings that all workers share.

    Attributes:
        folder: the folder that relative paths start from.
        data: fairseq's data folder.
        corpus: the input file.
        arguments: options of fairseq-generate.
        samples: whether records also have the states that the chains visited.
    """

    folder: Path
    data: str
    corpus: Path
    arguments: tuple[str, ...]
    samples: bool


class Chunk(NamedTuple):
    """The output for a span of lines.

    Attributes:
        number: the number of the chunk.
        records: the records, as JSON lines.
        counts: the counts of the chunk, as one JSON line.
    """

    number: int
    records: str
    counts: str


def worker(job: Job) -> Callable[[Span], Generator[int, None, Chunk]]:
    """Load the model; return a function from spans to chunks, which yields the number of sweeps that have ended.

    Raises:
        UserError: if the model cannot be loaded; the function raises it if a chunk cannot be translated.
    """
    os.chdir(job.folder)
    translator = Translator(job.data, job.arguments)

    def translate(span: Span) -> Generator[int, None, Chunk]:
        started = time.perf_counter()
        sources = read(job.corpus, span)
        if translator.cfg.generation.constraints:
            sources = [with_phrases(source) for source in sources]
        texts, numbers = [source.text for source in sources], [source.sentence for source in sources]
        phrases = [source.phrases for source in sources]
        found: dict[int, SentenceResult] = {}
        for event in translator.watch(texts, numbers=numbers, samples=job.samples, trace=False, phrases=phrases):
            if isinstance(event, Found):
                found[event.place] = event.result
            elif isinstance(event, SweepRecord):
                yield 1
        results = [found[place] for place in range(len(texts))]
        check_translated(sources, results)
        told = {"chunk": span.number, **counts_of(results), "seconds": round(time.perf_counter() - started, 3)}
        records = (record_of(source, result) for source, result in zip(sources, results, strict=True))
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        return Chunk(span.number, "".join(lines), json.dumps(told) + "\n")

    return translate


def check_translated(sources: Sequence[Source], results: Sequence[SentenceResult]) -> None:
    """Raise UserError if the model can read many of the lines, but no line was translated."""
    failed = [n for n, result in enumerate(results) if result.untranslated and result.symbols]
    if len(failed) >= MANY and not any(result.translations for result in results):
        number, reason = sources[failed[0]].sentence, results[failed[0]].untranslated
        raise UserError(f"none of the lines from sentence {number} on was translated: {reason}")


def counts_of(results: Sequence[SentenceResult]) -> Counter[str]:
    """Return the counts of a chunk, summed over its sentences."""
    counts = Counter(sentences=len(results), untranslated=sum(result.untranslated is not None for result in results))
    for name in ("symbols", "unknown", "rows", "broken"):
        counts[name] = sum(getattr(result, name) for result in results)
    for result in results:
        if result.untranslated:
            counts[f"{UNTRANSLATED}{result.untranslated.partition(':')[0]}"] += 1
    return counts
