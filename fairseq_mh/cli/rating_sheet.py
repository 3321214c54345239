#!/usr/bin/env python3
"""Texts of several samplers, mixed, as a sheet for people to rate (the paper's Table 6).

    python scripts/rating_sheet.py mh=OUT/samples.jsonl gibbs=OTHER/samples.jsonl --texts 50 --output sheet.csv

Raters get sheet.csv, whose texts do not say where they are from, and fill in `fluency` (1 to 5) and `comment`.
sheet.key.csv, which they do not get, says it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import polars as pl

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.output import read_samples
from fairseq_mh.sampler_config import refuse


def read(argument: str) -> tuple[str, list[dict]]:
    """A sampler's name and its samples, of `name=FILE`."""
    name, equals, path = argument.partition("=")
    if not name or not equals:
        raise UserError(f"{argument} is no NAME=FILE")
    return name, [{"sampler": name, "id": sample["id"], "text": sample["text"]} for sample in read_samples(Path(path))]


def mixed(samplers: dict[str, list[dict]], texts: int, seed: int) -> pl.DataFrame:
    """As many texts of each, drawn and mixed at random. Raises UserError where one has too few."""
    stream, chosen = np.random.default_rng(seed), []
    for name, samples in samplers.items():
        if len(samples) < texts:
            raise UserError(f"{name} has {len(samples)} texts, and --texts asks for {texts}")
        chosen += [samples[n] for n in stream.choice(len(samples), texts, replace=False)]
    rows = [chosen[n] for n in stream.permutation(len(chosen))]
    return pl.DataFrame(rows).with_row_index("item", offset=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samplers", nargs="+", metavar="NAME=FILE", help="samples.jsonl of scripts/sample_mlm.py")
    parser.add_argument("--texts", type=int, default=50, help="of each; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("sheet.csv"), help="default: %(default)s")
    args = parser.parse_args()
    key = args.output.with_suffix(".key.csv")
    try:
        named = list(map(read, args.samplers))
        refusals = {
            "each sampler needs a name of its own": len(dict(named)) < len(named),
            "--texts must be 1 or more": args.texts < 1,
            "--seed must not be negative": args.seed < 0,
            f"{args.output} or {key} exists: somebody may have filled it in": args.output.exists() or key.exists(),
        }
        refuse(refusals)
        table, blank = mixed(dict(named), args.texts, args.seed), pl.lit(None, dtype=pl.String)
        table.drop("text").write_csv(key)
        table.select("item", "text", fluency=blank, comment=blank).write_csv(args.output)
    except (UserError, OSError) as error:
        sys.exit(f"fairseq-mh: error: {error}")


if __name__ == "__main__":
    main()
