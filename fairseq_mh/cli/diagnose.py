"""Say whether the chains of a trace have converged.

    fairseq-generate DATA ... --mh-proposal single --mh-temperature 1 --mh-final-temperature 1 --mh-chains 4 \\
        --mh-sweeps 40 --mh-trace out/trace.jsonl
    fairseq-mh diagnose out/trace.jsonl --burn-in 7

Prints the share of chains that never moved, the share of sentences whose chains have converged, and the medians of
R-hat, the effective sample sizes and the rates.
"""

from argparse import ArgumentParser, Namespace
from math import isnan
from pathlib import Path

from tabulate import tabulate

from fairseq_mh.evaluation.diagnostics import CONVERGED, diagnose, diagnosis_summary, first_ids
from fairseq_mh.evaluation.scores import read_trace
from fairseq_mh.sampler_config import refuse

MEANINGS = {
    "groups": "pairs of sentence and length",
    "chains": "chains of all groups",
    "frozen": "share of chains that never moved",
    "converged": f"share of groups with an R-hat of at most {CONVERGED}",
    "r_hat": "rank-normalised split R-hat of the energy, median",
    "ess_bulk": "effective sample size of the energy, all chains of a group, median",
    "ess_tail": "the same of its 5 % and 95 % quantiles",
    "autocorrelation": "of the energy at lag 1, median",
    "acceptance_rate": "accepted proposals, unchanged ones included, median",
    "novel_rate": "accepted proposals that changed the state, median",
    "hamming": "share of positions in which a chain's end differs from its start, median",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, help="what --mh-trace wrote, or trace.jsonl of fairseq-mh sample")
    parser.add_argument("--burn-in", type=int, default=0, help="sweeps to leave out; default: %(default)s")
    parser.add_argument("--limit", type=int, metavar="N", help="diagnose the first N sentences alone")
    parser.add_argument("--output", type=Path, help="write a row for each sentence and length to this CSV file")


def run(args: Namespace) -> None:
    refuse({"--limit must be 1 or more": args.limit is not None and args.limit < 1})
    trace = read_trace(args.trace)
    table = diagnose(first_ids(trace, args.limit) if args.limit else trace, args.burn_in)
    rows = [(name, None if isnan(value) else value, MEANINGS[name]) for name, value in diagnosis_summary(table).items()]
    print(tabulate(rows, floatfmt=".3f", missingval="-"))
    if table["chains"].max() == 1:
        print("with one chain a sentence and length, nothing can be said of convergence: --mh-chains 4 makes four")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(args.output)
        print(f"{args.output} is written: a row for each of {len(table)} pairs of sentence and length")
