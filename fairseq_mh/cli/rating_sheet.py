"""Mix texts of several samplers into a sheet for people to rate (the paper's Table 6).

    fairseq-mh rating-sheet mh=out/mh/samples.jsonl gibbs=out/gibbs/samples.jsonl --texts 50 --output out/sheet.csv

The raters get sheet.csv and fill in `fluency` (1 to 5) and `comment`. They do not get sheet.key.csv, which says which
sampler each text is from.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.cli.parser import whole_number
from fairseq_mh.errors import BAD_SEED, SEEDS, refuse
from fairseq_mh.evaluation.rating_sheet import key_path, mix_texts, read_sampler, write_sheet


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("samplers", nargs="+", metavar="NAME=FILE", help="samples.jsonl of fairseq-mh sample")
    parser.add_argument(
        "--texts", type=whole_number(1), default=50, help="number of texts per sampler; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed for choosing the texts; default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("sheet.csv"), help="the sheet; default: %(default)s")


def run(args: Namespace) -> None:
    key, named = key_path(args.output), list(map(read_sampler, args.samplers))
    refusals = {
        "each sampler needs a name of its own": len(dict(named)) < len(named),
        BAD_SEED: args.seed not in SEEDS,
        f"{args.output} or {key} exists: somebody may have filled it in": args.output.exists() or key.exists(),
    }
    refuse(refusals)
    table = mix_texts(dict(named), args.texts, args.seed)
    write_sheet(table, args.output)
    print(f"{args.output} is written: {len(table)} texts; {key} says where they are from")
