"""Translate sentences, or lines of standard input, with a CMLM.

    fairseq-mh translate models/libreoffice-de-en "Öffnen Sie das Menü."
    fairseq-mh translate models/libreoffice-de-en --mh-preset fast < text.de > text.en

Prints one line for each input line, in order: its best translation, or an empty line if the input line is empty or
cannot be translated (a note on standard error says why). If a line is not UTF-8, the exit status is 1 at the end. With
--nbest above 1, each translation is on its own line, after the sentence number and a tab. With --constraints, the
phrases that a translation must contain follow the sentence on its line, each after a tab.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from fairseq_mh.cli.decoding_options import add_decoding_options, decoding_arguments
from fairseq_mh.cli.parser import Parser
from fairseq_mh.corpus.records import record_of
from fairseq_mh.corpus.sources import Source
from fairseq_mh.errors import UserError, not_unicode
from fairseq_mh.loading import with_pieces
from fairseq_mh.progress import Progress
from fairseq_mh.translation.given.phrases import split_phrases
from fairseq_mh.translation.results import SentenceResult, SweepRecord
from fairseq_mh.translator import Found, Translator

TAKES_MORE = True
BUFFER = 100  # lines, if they do not come from a terminal


def add_arguments(parser: Parser) -> None:
    parser.add_argument("data", help="fairseq's data folder, with checkpoint.pt (or see --path) and spm.model")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="default: the lines of standard input")
    parser.add_argument("--input", type=Path, help="text file to translate, one sentence per line")
    parser.add_argument(
        "--template",
        help="template of all translations, as 'Click {2} to {}.'; {2}: a blank of 2 tokens, {}: of any number",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON record per line: translations with energies")
    parser.add_argument("--limit", type=int, metavar="N", help="translate only the first N sentences")
    parser.add_argument(
        "--buffer-size", type=int, metavar="N", help="lines read at once; default: 100, or 1 from a terminal"
    )
    add_decoding_options(parser)


def run(args: Namespace) -> int:
    refuse_counts(args)
    translator = Translator(args.data, with_pieces(args.data, decoding_arguments(args)))
    total = len(args.sentences) or None
    batches = buffered(islice(sources(args), args.limit), args.buffer_size or (1 if waits(args) else BUFFER))
    with Progress(unit=" sentences", total=total, leave=False, delay=2) as bar:
        number = status = 0
        for lines in batches:
            print_translations(args, translator, lines, number, bar)
            status |= any(map(not_unicode, lines))
            number += len(lines)
    return status


def print_translations(args: Namespace, translator: Translator, lines: list[str], first: int, bar: Progress) -> None:
    """Translate lines, of which the first one has the number `first`, and print their translations."""
    numbers, phrases = range(first, first + len(lines)), None
    if translator.cfg.generation.constraints:
        split = [(line, []) if not_unicode(line) else split_phrases(line) for line in lines]
        lines, phrases = [line for line, _ in split], [mine for _, mine in split]
    events = translator.watch(lines, numbers=numbers, trace=args.json, template=args.template, phrases=phrases)
    for number, result in zip(numbers, in_order(events, len(lines), bar), strict=True):
        print_result(args.json, translator.cfg.generation.nbest, number, result)
    sys.stdout.flush()


def in_order(events: Iterable[Any], texts: int, bar: Progress) -> Iterator[SentenceResult]:
    """Yield the results of texts in their order, each as soon as those before it are there, and show progress."""
    found: dict[int, SentenceResult] = {}
    place = 0
    for event in events:
        if isinstance(event, SweepRecord) and event.sweep:
            bar.sweep()
        elif isinstance(event, Found):
            bar.update()
            found[event.place] = event.result
            while place in found:
                yield found.pop(place)
                place += 1
    assert place == texts


def refuse_counts(args: Namespace) -> None:
    """Raise UserError if a number is too small, or if two kinds of input are given."""
    for name, least in (("limit", 0), ("buffer_size", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} must be {least} or more")
    if args.sentences and args.input:
        raise UserError("sentences and --input exclude each other: give one of them")


def waits(args: Namespace) -> bool:
    """Return whether a user types the lines and waits for each translation."""
    return not args.sentences and not args.input and sys.stdin.isatty()


def sources(args: Namespace) -> Iterator[str]:
    """Yield the sentences from the command line, a file or standard input."""
    if args.sentences:
        yield from args.sentences
    elif args.input:
        with args.input.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            yield from (line.rstrip("\r\n") for line in file)
    else:
        sys.stdin.reconfigure(errors="surrogateescape", newline="\n")  # type: ignore[union-attr]
        yield from (line.rstrip("\r\n") for line in sys.stdin)


def buffered(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of `size` lines; the last list may be shorter."""
    iterator = iter(lines)
    while some := list(islice(iterator, size)):
        yield some


def print_result(as_json: bool, nbest: int, number: int, result: SentenceResult) -> None:
    """Print the translations of a sentence; if there are none, print the reason to standard error."""
    if result.untranslated and result.untranslated != "empty":
        print(f"fairseq-mh: line {number + 1} is not translated: {result.untranslated}", file=sys.stderr)
    if as_json:
        record = json.dumps(record_of(Source(number, str(number), result.source), result), ensure_ascii=False)
        print(record.encode(errors="backslashreplace").decode())  # JSON, too, writes lone surrogates as \udcf6
    elif nbest == 1:
        print(result.translations[0].text if result.translations else "")
    else:
        for found in result.translations:
            print(f"{number}\t{found.text}")
