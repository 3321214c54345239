"""Compare outputs of fairseq-generate by BLEU and chrF, with significance, wins and losses, and cost.

    fairseq-mh compare out/mask-predict.txt out/mh.txt --reference models/libreoffice-de-en/test.en

The first output is the baseline. A sentence is a win if its chrF is higher than the baseline's. The p-values are from
the paired bootstrap of sacrebleu, and so is "95 %", half the width of the interval of a score over sentences.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import MOST, UserError
from fairseq_mh.evaluation.comparison import comparison_table, of_common_sentences, system_names, warnings_about
from fairseq_mh.files.output import first_sentences, read_output, read_references


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("outputs", type=Path, nargs="+", help="the output of the baseline, then the other outputs")
    parser.add_argument("--reference", type=Path, help="plain text, one sentence per line; default: T- lines")
    parser.add_argument(
        "--samples",
        type=whole_number(1, MOST),
        default=1000,
        help="number of bootstrap resamples; default: %(default)s",
    )
    parser.add_argument("--common", action="store_true", help="compare only the sentences that all outputs hold")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="compare only the first N sentences")


def run(args: Namespace) -> None:
    if len(args.outputs) < 2:
        raise UserError("there is nothing to compare: give two outputs or more")
    if len(set(args.outputs)) < len(args.outputs):
        raise UserError("an output is given twice; give each output once")
    names = system_names(args.outputs)
    outputs = {name: read_output(path) for name, path in zip(names, args.outputs, strict=True)}
    if args.common:
        outputs = of_common_sentences(outputs)
    if args.limit:
        outputs = {name: first_sentences(output, args.limit) for name, output in outputs.items()}
    if args.common or args.limit:
        print(f"{len(next(iter(outputs.values())).hypotheses)} sentences; rows and seconds are for the whole outputs")
    references = read_references(args.reference) if args.reference else next(iter(outputs.values())).references
    hypotheses = {name: output.hypotheses for name, output in outputs.items()}
    for line in warnings_about(hypotheses, references, printed=not args.reference):
        print(f"fairseq-mh: {line}", file=sys.stderr)
    print(comparison_table(outputs, references, args.samples))
