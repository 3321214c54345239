"""Say whether the chains of a trace have converged.

    fairseq-generate DATA ... --mh-proposal single --mh-temperature 1 --mh-final-temperature 1 --mh-chains 4 \\
        --mh-sweeps 40 --mh-trace out/trace.jsonl
    fairseq-mh diagnose out/trace.jsonl --burn-in 7

Prints the share of chains that never moved, the share of sentences whose chains have converged, and the medians of
R-hat, the effective sample sizes and the rates.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from tabulate import tabulate

from fairseq_mh.evaluation.diagnostics import diagnose, diagnosis_summary, first_ids
from fairseq_mh.evaluation.scores import read_trace
from fairseq_mh.sampler_config import refuse


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, help="what --mh-trace wrote, or trace.jsonl of fairseq-mh sample")
    parser.add_argument("--burn-in", type=int, default=0, help="sweeps to leave out; default: %(default)s")
    parser.add_argument("--limit", type=int, metavar="N", help="diagnose the first N sentences alone")
    parser.add_argument("--output", type=Path, help="write a row for each sentence and length to this CSV file")


def run(args: Namespace) -> None:
    refuse({"--limit must be 1 or more": args.limit is not None and args.limit < 1})
    trace = read_trace(args.trace)
    table = diagnose(first_ids(trace, args.limit) if args.limit else trace, args.burn_in)
    print(tabulate(diagnosis_summary(table).items(), floatfmt=".3f", missingval="-"))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(args.output)
        print(f"{args.output} is written: a row for each of {len(table)} pairs of sentence and length")
