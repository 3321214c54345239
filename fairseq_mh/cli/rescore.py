"""Rerank n-best lists of any system by an energy.

    fairseq-mh rescore models/libreoffice-de-en out/nbest.txt out/more.txt > out/rescored.txt
    fairseq-mh rescore models/libreoffice-de-en out/nbest.txt --energy electric.pt > out/rescored.txt
    fairseq-mh rescore DATA out/nbest.txt --energy two-stream,ar.pt:2 > out/rescored.txt

The input is one or more outputs of fairseq-generate; all D- lines of a sentence in all files are its candidates. Prints
S-, T-, H- and D- lines, best candidate first, for fairseq-mh compare. A score is minus the energy per token, in base 2
like fairseq's scores.
"""

import math
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.rescorer import Candidates, Rescorer
from fairseq_mh.files.output import Output, pooled_nbest, read_output
from fairseq_mh.loading import arguments_of
from fairseq_mh.progress import Progress

IN_PIECES = (
    "give outputs in the model's pieces, which fairseq-generate prints without --post-process, or, for plain text, "
    "the --sentencepiece-model that cut the training data"
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="fairseq's data folder")
    parser.add_argument("outputs", type=Path, nargs="+", help="outputs of fairseq-generate, as a rule with --nbest")
    parser.add_argument("--energy", default="norm", help="a sum of terms, as for --mh-energy; default: %(default)s")
    parser.add_argument("--path", type=Path, help="the CMLM's checkpoint; default: DATA/checkpoint.pt")
    parser.add_argument("--gen-subset", default="test", help="the subset that is translated; default: %(default)s")
    parser.add_argument(
        "--sentencepiece-model",
        type=Path,
        help="the SentencePiece model for D- lines; default: DATA/spm.model, unless they are pieces",
    )
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="rescore only the first N sentences")


def run(args: Namespace) -> None:
    first, nbest = read_output(args.outputs[0]), pooled_nbest(args.outputs, args.limit)
    options = arguments_of({"path": args.path, "energy": args.energy})
    rescorer = Rescorer(args.data, args.gen_subset, options, args.sentencepiece_model)
    rescorer.check_sources({number: text for number, text in first.sources.items() if number in nbest})
    with Progress(unit=" sentences", total=len(nbest), leave=False, delay=2) as bar:
        for batch in rescorer.rescore(nbest):
            print_batch(batch, rescorer.refused, first)
            bar.update(len(batch))
    candidates = sum(map(len, nbest.values()))
    uncut, refused, outside = rescorer.uncut, len(rescorer.refused), rescorer.outside
    if uncut == candidates:
        raise UserError(f"no candidate is cut into the model's pieces: {IN_PIECES}")
    told = f"{len(nbest)} sentences, {candidates} candidates"
    print(f"{told}, decoder rows so far: {rescorer.rows}")
    advice = f"; {uncut} candidates cannot be cut into the model's pieces: {IN_PIECES}" if uncut else ""
    if refused:
        raise UserError(f"{refused} of {len(nbest)} sentences are not rescored{advice}")
    if outside:
        advice += f"; {outside} candidates are empty or longer than the model's targets, and come last"
    print(f"fairseq-mh: {told} are written, best first{advice}", file=sys.stderr)


def print_batch(batch: dict[int, Candidates], refused: dict[int, str], first: Output) -> None:
    """Print the lines of a batch as fairseq does, with the sources and references of the first output.

    A sentence whose candidates cannot be ordered gets an empty translation, and a note on standard error.
    """
    for number, candidates in batch.items():
        if number in refused:
            Progress.write(f"fairseq-mh: sentence {number} is not rescored: {refused[number]}", file=sys.stderr)
        for kind, texts in (("S", first.sources), ("T", first.references)):
            if number in texts:
                Progress.write(f"{kind}-{number}\t{texts[number]}")
        for score, text in candidates or [(-math.inf, "")]:
            Progress.write(f"H-{number}\t{score}\t{text}\nD-{number}\t{score}\t{text}")
