"""A worker: it holds the model, and makes of a span of lines the chunk that is written."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fairseq_mh.corpus.sources import Span, read
from fairseq_mh.corpus.translator import Translator
from fairseq_mh.loading import parse_generate_options


class Job(NamedTuple):
    """What every worker is told."""

    folder: Path  # where the paths begin
    data: str
    corpus: Path
    arguments: tuple[str, ...]  # of fairseq-generate
    samples: bool


class Chunk(NamedTuple):
    number: int
    records: str  # JSON lines
    counts: str  # a JSON line


def worker(job: Job) -> Callable[[Span], Chunk]:
    """Raises UserError where the model cannot be loaded; the worker raises it where a chunk cannot be translated."""
    os.chdir(job.folder)
    translator = Translator(parse_generate_options(job.data, job.arguments), job.samples)

    def translate(span: Span) -> Chunk:
        begun = time.perf_counter()
        records, counts = translator.translate(read(job.corpus, span))
        told = {"chunk": span.number, **counts, "seconds": round(time.perf_counter() - begun, 3)}
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        return Chunk(span.number, "".join(lines), json.dumps(told) + "\n")

    return translate
