"""Translate a corpus with any number of workers, and continue after an interruption.

    fairseq-mh corpus models/libreoffice-de-en corpus.de --output out/corpus --workers 2 --nbest 3

The corpus is text with one sentence per line, or JSON lines with "text" and, optionally, "id". The file
OUTPUT/translations.jsonl (or .parquet) has one record per line: source, translations with energies, cost. A translation
depends on the seed and its line number, not on the worker. If the command is killed, run it again to continue.
"""

import signal
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

from fairseq_mh.cli.decoding_options import add_decoding_options, decoding_arguments
from fairseq_mh.cli.parser import Parser, whole_number
from fairseq_mh.corpus.driver import corpus_summary, translate
from fairseq_mh.corpus.options import CorpusOptions
from fairseq_mh.loading import with_pieces

TAKES_MORE = "OPTIONS OF fairseq-generate"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("data", type=Path, help="fairseq's data folder: dictionaries, checkpoint.pt and spm.model")
    parser.add_argument("corpus", type=Path, help='one sentence per line; or .jsonl: {"text": "...", "id": "..."}')
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--format", default="jsonl", choices=["jsonl", "parquet"], help="default: %(default)s")
    parser.add_argument("--samples", action="store_true", help="also write every state that the chains visited")
    parser.add_argument(
        "--chunk-size",
        type=whole_number(1),
        default=500,
        help="lines that are written, or lost, together; default: %(default)s",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(0),
        help="number of Ray workers; 0: only this process; default: one for each GPU or core",
    )
    parser.add_argument("--address", help="address of a Ray cluster; default: Ray is started for this run only")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="translate only the first N lines")
    add_decoding_options(parser)


def options_of(args: Namespace) -> CorpusOptions:
    """Return the options that a command line gives."""
    arguments = with_pieces(str(args.data), decoding_arguments(args))
    names = ("data", "corpus", "output", "format", "samples", "chunk_size", "workers", "address", "limit")
    return CorpusOptions(arguments=tuple(arguments), **{name: getattr(args, name) for name in names})


def run(args: Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters send it to a job whose time is over
    try:
        with redirect_stdout(sys.stderr):  # Ray prints messages about workers that die
            counts = translate(options_of(args))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to continue") from None
    print(f"{corpus_summary(counts)}\n{args.output / f'translations.{args.format}'} is written")
