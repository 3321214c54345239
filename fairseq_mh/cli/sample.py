#!/usr/bin/env python3
"""Draw texts from a masked language model by Metropolis-Hastings.

    python scripts/sample_mlm.py MODEL --output OUT --chains 100 --length 15 45

MODEL is a folder with a Hugging Face model, or a RoBERTa checkpoint of fairseq's (.pt, beside its dict.txt). Chains
begin with masks alone, which are filled in one by one. With --text 'Click {3} to {}.' what is given stays, {3} is a
blank of three symbols, and {} one of a random number. OUT/samples.jsonl has where each chain ended, OUT/trace.jsonl
its sweeps. Stopped at any time, the same command goes on where it was.
"""

import sys

from fairseq_mh.errors import UserError
from fairseq_mh.open_ended.command_line import check, draw, load, parse


def main():
    args, cfg = parse()
    try:
        check(args, cfg)
        draw(args, cfg, load(args))
    except (UserError, OSError) as error:
        sys.exit(f"fairseq-mh: error: {error}")


if __name__ == "__main__":
    main()
