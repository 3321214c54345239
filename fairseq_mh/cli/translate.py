"""Translate sentences, or lines of standard input, with a CMLM.

    fairseq-mh translate models/libreoffice-de-en "Öffnen Sie das Menü."
    fairseq-mh translate models/libreoffice-de-en --mh-preset fast < text.de > text.en
    fairseq-mh translate models/libreoffice-de-en --samples 1000 "Speichern unter"

Prints one line for each input line, in order: its best translation, or an empty line if the input line is empty or
cannot be translated (a note on standard error says why). If a line is not UTF-8, the exit status is 1 at the end. With
--nbest above 1, each translation is on its own line, after the sentence number and a tab. With --constraints, the
phrases that a translation must contain follow the sentence on its line, each after a tab.

With --samples, translations are drawn from exp(-E) instead, by four chains at a temperature of 1 (--mh-preset sample).
Each distinct translation is on its own line, the most frequent one first: the sentence number, the share of draws, the
energy in nats and the text, with tabs between. Standard error has R-hat and the effective sample size for each sentence
(extra eval), and says what to do if the chains have not converged.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from fairseq_mh.cli.decoding_options import add_decoding_options, decoding_arguments
from fairseq_mh.cli.parser import Parser, whole_number
from fairseq_mh.convergence import arviz
from fairseq_mh.corpus.records import record_of, record_of_samples
from fairseq_mh.corpus.sources import Source
from fairseq_mh.errors import UserError, not_unicode, refuse
from fairseq_mh.loading import with_pieces
from fairseq_mh.progress import Progress
from fairseq_mh.translation.results import SentenceResult, SweepRecord
from fairseq_mh.translation.samples import Samples
from fairseq_mh.translator import Found, Translator

TAKES_MORE = "OPTIONS OF fairseq-generate"
BUFFER = 100  # lines, if they do not come from a terminal
COUNTS = ("chains", "burn_in")
OF_SAMPLES = ("preset", *COUNTS)  # options that `Translator.watch_samples` takes itself
NOT_OF_SAMPLES = ("mh_sweeps", "mh_select", "nbest")
Watch = Callable[..., Iterator[Any]]  # as `Translator.watch`


def add_arguments(parser: Parser) -> None:
    parser.add_argument("data", help="fairseq's data folder, with checkpoint.pt (or see --path) and spm.model")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="default: the lines of standard input")
    parser.add_argument("--input", type=Path, help="text file to translate, one sentence per line")
    parser.add_argument(
        "--template",
        help="template of all translations, as 'Click {2} to {}.'; {2}: a blank of 2 tokens, {}: of any number",
    )
    parser.add_argument(
        "--samples", type=whole_number(1), metavar="N", help="draw N translations of each sentence by four chains"
    )
    parser.add_argument(
        "--thin",
        type=whole_number(1),
        metavar="N",
        help="with --samples: sweeps from one draw of a chain to its next; default: 1",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON record per line: translations with energies")
    parser.add_argument("--limit", type=whole_number(0), metavar="N", help="translate only the first N sentences")
    parser.add_argument(
        "--buffer-size",
        type=whole_number(1),
        metavar="N",
        help="lines read at once; default: 100, or 1 from a terminal",
    )
    add_decoding_options(parser)


def run(args: Namespace) -> int:
    if args.sentences and args.input:
        raise UserError("sentences and --input exclude each other: give one of them")
    sampling = sampling_settings(args)
    translator = Translator(args.data, with_pieces(args.data, decoding_arguments(args)))
    watch = partial(translator.watch_samples, **sampling) if sampling else partial(translator.watch, trace=args.json)
    total = len(args.sentences) or None
    batches = buffered(islice(sources(args), args.limit), args.buffer_size or (1 if waits(args) else BUFFER))
    with Progress(unit=" sentences", total=total, leave=False, delay=2) as bar:
        number = status = 0
        for lines in batches:
            print_translations(args, translator, watch, lines, number, bar)
            status |= any(map(not_unicode, lines))
            number += len(lines)
    return status


def print_translations(
    args: Namespace, translator: Translator, watch: Watch, lines: list[str], first: int, bar: Progress
) -> None:
    """Translate lines by `watch`, and print their translations or draws; the first line has the number `first`."""
    numbers, phrases = range(first, first + len(lines)), None
    if translator.cfg.generation.constraints:
        split = [[line] if not_unicode(line) else line.split("\t") for line in lines]
        lines, phrases = [line for line, *_ in split], [mine for _, *mine in split]
    events = watch(lines, numbers=numbers, template=args.template, phrases=phrases)
    for number, found in zip(numbers, in_order(events, len(lines), bar), strict=True):
        if isinstance(found, Samples):
            print_samples(args.json, number, found)
        else:
            print_result(args.json, translator.cfg.generation.nbest, number, found)
        sys.stdout.flush()


def sampling_settings(args: Namespace) -> dict[str, Any]:
    """Return the arguments of `Translator.watch_samples`, which are taken from `args`; empty without --samples.

    Raises:
        UserError: if ArviZ is not installed, an option has no use here, or a count is no whole number.
    """
    given = vars(args)
    if args.samples is None:
        refuse({"--thin needs --samples": args.thin is not None})
        return {}
    for name in NOT_OF_SAMPLES:
        option = f"--{name.replace('_', '-')}"
        refuse({f"{option} cannot be combined with --samples, which prints all that was drawn": name in given})
    arviz("arviz_stats")
    settings = {name: given.pop(f"mh_{name}") for name in OF_SAMPLES if f"mh_{name}" in given}
    for name in settings.keys() & COUNTS:
        try:
            settings[name] = int(settings[name])
        except ValueError:
            option = f"--mh-{name.replace('_', '-')}"
            raise UserError(f"{option} must be a whole number, and is {settings[name]}") from None
    return {**settings, "draws": args.samples, "thin": args.thin or 1}


def in_order(events: Iterable[Any], texts: int, bar: Progress) -> Iterator[Any]:
    """Yield the results of texts in their order, each as soon as those before it are there, and show progress."""
    found: dict[int, Any] = {}
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
    print_reason(number, result.untranslated)
    if as_json:
        print_record(record_of(Source(number, str(number), result.source), result))
    elif nbest == 1:
        Progress.write(result.translations[0].text if result.translations else "")
    else:
        for found in result.translations:
            Progress.write(f"{number}\t{found.text}")


def print_samples(as_json: bool, number: int, drawn: Samples) -> None:
    """Print the distinct translations of a sentence, and to standard error whether its chains have converged."""
    print_reason(number, drawn.untranslated)
    if as_json:
        print_record(record_of_samples(Source(number, str(number), drawn.source), drawn))
    else:
        for one in drawn.frequencies:
            Progress.write(f"{number}\t{one.frequency:.4g}\t{one.energy:.3f}\t{one.text}")
    if drawn.draws:
        found = drawn.convergence
        figures = [] if found.r_hat is None else [f"R-hat {found.r_hat:.3f}"]
        figures += [] if found.ess_bulk is None else [f"{found.ess_bulk:.0f} effective draws of {len(drawn.draws)}"]
        told = "; ".join([*figures, found.advice or "the chains have converged"])
        Progress.write(f"fairseq-mh: sentence {number}: {told}", file=sys.stderr)


def print_record(record: dict[str, Any]) -> None:
    """Print a record as a line of JSON, which has lone surrogates as \\udcf6, in any encoding of the output."""
    Progress.write(json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace").decode())


def print_reason(number: int, untranslated: str | None) -> None:
    """Print to standard error why a line is not translated, unless it is empty."""
    if untranslated and untranslated != "empty":
        Progress.write(
            f"fairseq-mh: sentence {number} (line {number + 1}) is not translated: {untranslated}", file=sys.stderr
        )
