"""Translate a corpus with any number of workers, and lose nothing.

    fairseq-mh corpus models/libreoffice-de-en corpus.de --output out/corpus --workers 2 --nbest 3

The corpus is text, a sentence a line, or JSON lines with "text" and, if they have one, "id". OUT/translations.jsonl (or
.parquet) has a record a line: source, translations with energies, cost. A translation depends on the seed and its line
number, not on who translates it. Killed at any time, the same command goes on where it was.
"""

import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import redirect_stdout
from pathlib import Path

from fairseq_mh.cli.decoding_options import add_decoding_options, decoding_arguments
from fairseq_mh.corpus.driver import corpus_summary, translate
from fairseq_mh.corpus.options import CorpusOptions
from fairseq_mh.loading import with_pieces

TAKES_MORE = True


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="fairseq's data folder: dictionaries, checkpoint.pt and spm.model")
    parser.add_argument("corpus", type=Path, help='text, a sentence a line; or .jsonl: {"text": "...", "id": "..."}')
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--format", default="jsonl", choices=["jsonl", "parquet"], help="default: %(default)s")
    parser.add_argument("--samples", action="store_true", help="write every state that the chains visited, too")
    parser.add_argument(
        "--chunk-size", type=int, default=500, help="lines that are written, or lost, together; default: %(default)s"
    )
    parser.add_argument(
        "--workers", type=int, help="of Ray, a GPU or core each; 0: this process alone; default: all that there are"
    )
    parser.add_argument("--address", help="of a Ray cluster; default: a Ray of this run alone")
    parser.add_argument("--limit", type=int, metavar="N", help="translate the first N lines alone")
    add_decoding_options(parser)


def options_of(args: Namespace) -> CorpusOptions:
    """Return what a command line asks for."""
    arguments = with_pieces(str(args.data), decoding_arguments(args))
    names = ("data", "corpus", "output", "format", "samples", "chunk_size", "workers", "address", "limit")
    return CorpusOptions(arguments=tuple(arguments), **{name: getattr(args, name) for name in names})


def run(args: Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as clusters end what is over its time
    try:
        with redirect_stdout(sys.stderr):  # Ray tells of workers that die
            counts = translate(options_of(args))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on where it was") from None
    print(f"{corpus_summary(counts)}\n{args.output / f'translations.{args.format}'} is written")
