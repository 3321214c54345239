"""Translate held-out segments with the embedded model in several ways, and compare the results.

    fairseq-mh demo            # 50 segments, with models/libreoffice-de-en of the clone
    fairseq-mh demo --all      # the whole test set, as in the model card
    fairseq-mh demo FOLDER     # another data folder with a checkpoint.pt

The grid `demo` (fairseq-mh experiments demo ...) defines the decoders. No files are written.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.demo import demo_bench, demo_grid, demonstrate, find_model


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, nargs="?", help="fairseq's data folder, with checkpoint.pt and perhaps teacher.pt"
    )
    parser.add_argument("--all", action="store_true", help="translate the whole test set instead of a tenth")
    parser.add_argument(
        "--limit", type=whole_number(1), metavar="N", help="translate the first N segments instead of a tenth"
    )


def run(args: Namespace) -> None:
    if args.all and args.limit:
        raise UserError("--all and --limit exclude each other")
    model = args.folder or find_model()
    grid, notes = demo_grid(model)
    for line in demonstrate(grid, demo_bench(model, args.all, args.limit)):
        print(line)
    for note in notes:
        print(f"\n{note}")
