#!/usr/bin/env python3
"""How likely, how varied and how well mixed are the texts that `sample_mlm.py` drew?

    python scripts/evaluate_texts.py OUT OTHER --causal-lm FOLDER

A line for each folder: perplexity under a causal model (a Hugging Face folder, or a .gguf file) and nats a text (not
normalised by its tokens), Self-BLEU and distinct n-grams, energies in nats a symbol, rates, and model rows.
"""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from fairseq_mh.errors import UserError
from fairseq_mh.evaluation.scores import read_trace, trace_scores
from fairseq_mh.evaluation.text_bench import read_texts, text_scores
from fairseq_mh.open_ended.causal_lm import load_causal_lm

COLUMNS = (
    *("perplexity", "nats", "self_bleu", "distinct_1", "distinct_2"),
    *("energy_norm", "energy_raw", "acceptance_rate", "novel_rate", "rows"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="what sample_mlm.py wrote")
    parser.add_argument("--causal-lm", type=Path, help="the judge; without one, nothing says how likely the texts are")
    parser.add_argument("--device", default="cpu", help="of the judge; default: %(default)s")
    args = parser.parse_args()
    try:
        judge = load_causal_lm(args.causal_lm, args.device) if args.causal_lm else None
        lines = []
        for folder in args.folders:
            texts = read_texts(folder / "samples.jsonl")
            row = text_scores(texts, judge) | trace_scores(read_trace(folder / "trace.jsonl"))
            lines.append([folder.name, len(texts), *(row.get(name) for name in COLUMNS)])
    except UserError as error:
        sys.exit(f"fairseq-mh: error: {error}")
    print(tabulate(lines, ["", "texts", *COLUMNS], floatfmt=".3f", intfmt=",", missingval="-"))


if __name__ == "__main__":
    main()
