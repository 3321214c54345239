"""Measure the likelihood, diversity and mixing of texts that fairseq-mh sample drew.

    fairseq-mh evaluate out/texts out/others --causal-lm FOLDER

Prints a line for each folder: perplexity under a causal model and nats per text (not divided by its tokens), Self-BLEU
and the shares of distinct words and bigrams, energies in nats per symbol, acceptance rates, and rows of the model.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fairseq_mh.evaluation.text_scores import texts_table
from fairseq_mh.open_ended.causal_lm import load_causal_lm


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", help="output folders of fairseq-mh sample")
    parser.add_argument(
        "--causal-lm", type=Path, help="the model that judges the texts: a Hugging Face folder, or a .gguf file"
    )
    parser.add_argument("--device", default="cpu", help="device of the judge; default: %(default)s")


def run(args: Namespace) -> None:
    judge = load_causal_lm(args.causal_lm, args.device) if args.causal_lm else None
    print(texts_table(args.folders, judge))
