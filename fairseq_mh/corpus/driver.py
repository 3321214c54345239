"""Translates a corpus in chunks with workers, and writes the chunks to a folder (`fairseq-mh corpus`)."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fairseq_mh.corpus.options import CorpusOptions, checked, settings
from fairseq_mh.corpus.sources import Span, scan
from fairseq_mh.corpus.worker import UNTRANSLATED, Chunk, Job, worker
from fairseq_mh.files.chunks import Chunks, Join, concatenate
from fairseq_mh.progress import Progress

COUNTS = "chunks.jsonl"  # the cost of each chunk


def translate(args: CorpusOptions) -> Counter[str]:
    """Translate the corpus, or the chunks that an interrupted run left out; return the counts of the whole corpus.

    Raises:
        UserError: if the options or files cannot be used, or a chunk cannot be translated. Finished chunks are kept,
            and the same command continues after them.
    """
    cfg, corpus = checked(args), scan(args.corpus, args.chunk_size, args.limit)
    translations, total = f"translations.{args.format}", sum(span.lines for span in corpus.spans)
    write, join = written_as(args.format)
    files = {translations: join, COUNTS: concatenate}
    with Chunks(args.output, settings(args, cfg, corpus), files, len(corpus.spans)) as chunks:
        missing = [corpus.spans[number] for number in chunks.missing()]
        done = total - sum(span.lines for span in missing)
        with Progress(desc=args.output.name, unit=" sentences", initial=done, total=total) as bar, bar.ticking():
            for chunk in translated(args, missing, cfg.common.cpu):
                if isinstance(chunk, int):
                    bar.sweep(chunk)
                    continue
                contents = {translations: partial(write, chunk.records), COUNTS: partial(write_text, chunk.counts)}
                chunks.write(chunk.number, contents)
                bar.update(corpus.spans[chunk.number].lines)
        chunks.join()
    return counted(args.output / COUNTS)


def translated(args: CorpusOptions, spans: list[Span], cpu: bool) -> Iterator[Chunk | int]:
    """Yield the chunks of these spans, in any order, and in between the numbers of sweeps that have ended."""
    job = Job(Path.cwd(), str(args.data), args.corpus, tuple(args.arguments), args.samples)
    if not spans:
        return
    if args.workers == 0:
        translate_span = worker(job)
        for span in spans:
            yield (yield from translate_span(span))
        return
    from fairseq_mh.corpus.ray_workers import on_ray

    yield from on_ray(job, spans, args.workers, args.address, cpu)


def written_as(name: str) -> tuple[Callable[[str, BinaryIO], Any], Join]:
    """Return the functions that write a chunk's records and that join chunks; import only what the format needs."""
    if name == "parquet":
        from fairseq_mh.corpus.parquet import join, write_parquet

        return write_parquet, join
    return write_text, concatenate


def write_text(lines: str, file: BinaryIO) -> None:
    """Write text to a binary file, in UTF-8."""
    file.write(lines.encode())


def counted(path: Path) -> Counter[str]:
    """Return each count, summed over all chunks."""
    total: Counter[str] = Counter()
    with path.open(encoding="utf-8") as file:
        for line in file:
            total.update(json.loads(line))
    return total


def corpus_summary(counts: Counter[str]) -> str:
    """Return the lines that `fairseq-mh corpus` prints about the whole corpus."""
    lines = [
        f"{counts['sentences']:,} sentences, {counts['rows']:,} decoder rows, {counts['seconds']:,.0f} s of worker time"
    ]
    told = {
        "unknown": f"of {counts['symbols']:,} source symbols are unknown (--bpe must cut text into the model's pieces)",
        "broken": "proposals were rejected because the model produced NaN",
    }
    if counts["untranslated"]:
        kinds = [name for name in sorted(counts) if name.startswith(UNTRANSLATED)]
        listed = ", ".join(f"{name.removeprefix(UNTRANSLATED)}: {counts[name]:,}" for name in kinds)
        lines.append(f"{counts['untranslated']:,} sentences were not translated ({listed}): see their records")
    return "\n".join(lines + [f"{counts[name]:,} {text}" for name, text in told.items() if counts[name]])
