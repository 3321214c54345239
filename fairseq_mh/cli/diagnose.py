"""Check whether the chains of a trace have converged.

    fairseq-generate DATA ... --mh-block-size 1 --mh-temperature 1 --mh-final-temperature 1 --mh-chains 4 \\
        --mh-sweeps 40 --mh-trace out/trace.jsonl
    fairseq-mh diagnose out/trace.jsonl --burn-in 7

Prints the share of chains that never moved, the share of sentences whose chains have converged, and the medians of
R-hat, the effective sample sizes and the acceptance rates, and says what to do about chains that have not converged.
"""

from argparse import ArgumentParser, Namespace
from math import isnan
from pathlib import Path

from tabulate import tabulate

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.convergence import CONVERGED
from fairseq_mh.evaluation.diagnostics import advice_on, diagnose, diagnosis_summary, first_ids
from fairseq_mh.evaluation.scores import read_trace
from fairseq_mh.files.chunks import write_whole

MEANINGS = {
    "groups": "number of pairs of sentence and length",
    "chains": "number of chains in all groups",
    "frozen": "share of chains that never moved",
    "converged": f"share of groups with an R-hat of at most {CONVERGED}",
    "r_hat": "rank-normalised split R-hat of the energy, median",
    "ess_bulk": "effective sample size of the energy over all chains of a group, median",
    "ess_tail": "effective sample size of the 5 % and 95 % quantiles of the energy, median",
    "autocorrelation": "autocorrelation of the energy at lag 1, median",
    "acceptance_rate": "share of proposals that were accepted, unchanged ones included, median",
    "novel_rate": "share of proposals that were accepted and changed the state, median",
    "hamming": "share of positions at which a chain's last state differs from its first, median",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, help="the file of --mh-trace, or trace.jsonl of fairseq-mh sample")
    parser.add_argument(
        "--burn-in", type=whole_number(0), default=0, help="first sweeps to discard; default: %(default)s"
    )
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="diagnose only the first N sentences")
    parser.add_argument("--output", type=Path, help="write a row for each sentence and length to this CSV file")


def run(args: Namespace) -> None:
    trace = read_trace(args.trace)
    table = diagnose(first_ids(trace, args.limit) if args.limit else trace, args.burn_in)
    rows = [(name, None if isnan(value) else value, MEANINGS[name]) for name, value in diagnosis_summary(table).items()]
    print(tabulate(rows, floatfmt=".3f", missingval="-"))
    for advice in advice_on(table):
        print(advice)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.output, table.write_csv)
        print(f"{args.output} is written: a row for each of {len(table)} pairs of sentence and length")
