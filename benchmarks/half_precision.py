#!/usr/bin/env python3
"""Compare decoding in half precision with float32: energies of references, translations, and BLEU.

    python -m benchmarks.half_precision models/libreoffice-de-en --sentences 200

DATA is a fairseq data folder with a CMLM's checkpoint.pt in it. All other options are the decoder's.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import sacrebleu
import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks.decoding import load_decoder, sample_of
from fairseq_mh.translation.generator import source_of
from fairseq_mh.translation.options import TranslationMHConfig
from fairseq_mh.translation.rescoring import energies

PRECISIONS = {"float32": (), "bf16": ("--bf16",), "fp16": ("--fp16",)}
CHAIN = ("--mh-energy", "two-stream", "--mh-init", "mask-predict", "--iter-decode-max-iter", "4", "--mh-chains", "1")
CHAIN += ("--mh-proposal", "single", "--mh-scan", "random", "--mh-sweeps", "2")
BATCH = 100  # sentences


class Decoded(NamedTuple):
    """What one precision makes of the sentences."""

    energies: dict[str, Tensor]  # (N,) nats a token of the references
    texts: list[str]
    references: list[str]


def decode(data: str, sentences: int, options: Sequence[str]) -> Decoded:
    """Evaluate and translate the first sentences of the test set."""
    decoder = load_decoder(data, *options)
    generator, found = decoder.generator, Decoded({"norm": torch.empty(0), "two-stream": torch.empty(0)}, [], [])
    for first in range(0, sentences, BATCH):
        sample = sample_of(decoder, min(BATCH, sentences - first), first)
        source = source_of(sample)
        targets = [generator.cmlm.target(line) for line in sample["target"]]
        lengths, context = torch.tensor([len(target) for target in targets]), torch.arange(len(targets))
        for name, nats in found.energies.items():
            own = energies(generator.cmlm, TranslationMHConfig(mh_energy=name), source, targets, context).energy
            found.energies[name] = torch.cat([nats, own / lengths])
        best = generator.best(generator.decode(sample), [""] * len(targets))
        found.texts.extend(generator._text(one[0]) for one in best)
        found.references.extend(decoder.task.target_dictionary.string(one, generator.joined) for one in targets)
    return found


def compare(data: str, sentences: int, more: Sequence[str]) -> list[dict]:
    """Return a row of the table for each precision."""
    found = {name: decode(data, sentences, (*CHAIN, *own, *more)) for name, own in PRECISIONS.items()}
    full, rows = found["float32"], []
    for name, one in found.items():
        off = {energy: (nats - full.energies[energy]).abs() for energy, nats in one.energies.items()}
        differing = sum(a != b for a, b in zip(one.texts, full.texts, strict=True)) / len(full.texts)
        row = {"precision": name, "differing": differing}
        row |= {f"{energy}, {what}": float(getattr(nats, what)()) for energy, nats in off.items() for what in WHAT}
        rows.append(row | {"BLEU": sacrebleu.corpus_bleu(one.texts, [one.references]).score})
    return rows


WHAT = ("mean", "max")


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--sentences", type=int, default=200, help="of the test set; default: %(default)s")
    args, more = parser.parse_known_args()
    print(tabulate(compare(args.data, args.sentences, more), headers="keys", floatfmt=".4f"))


if __name__ == "__main__":
    main()
