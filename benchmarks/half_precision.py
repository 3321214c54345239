#!/usr/bin/env python3
"""Compare decoding in half precision with float32, by energies of references, translations, and BLEU.

    python -m benchmarks.half_precision models/libreoffice-de-en
    python -m benchmarks.half_precision models/libreoffice-de-en --sentences 200 --mh-preset fast

DATA is a fairseq data folder that holds a CMLM's checkpoint.pt. All other options are passed to the decoder.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import sacrebleu
import torch
from fairseq_mh.translation.rescoring import energies
from tabulate import tabulate
from torch import Tensor

from benchmarks.decoding import load_decoder, sample_of
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.options.config import TranslationMHConfig

PRECISIONS = {"float32": (), "bf16": ("--bf16",), "fp16": ("--fp16",)}
DECODERS = {
    "mask-predict": ("--mh-decoding", "mask-predict", "--iter-decode-max-iter", "9"),
    "the default": (),
}
BATCH = 100  # sentences


class Decoded(NamedTuple):
    """The energies and translations of the sentences in one precision."""

    energies: dict[str, Tensor]  # name of the energy -> (N,) nats a token, of the references
    texts: dict[str, list[str]]  # name of the decoder -> its translations
    references: list[str]  # text of the references


def decode(data: str, sentences: int | None, options: Sequence[str]) -> Decoded:
    """Evaluate and translate the first sentences of the test set, or all sentences if `sentences` is None."""
    found = Decoded({"norm": torch.empty(0), "two-stream": torch.empty(0)}, {name: [] for name in DECODERS}, [])
    for name, own in DECODERS.items():
        decoder = load_decoder(data, *own, *options)
        generator, texts = decoder.generator, found.texts[name]
        available = len(decoder.task.dataset("test"))
        count = min(sentences or available, available)
        for first in range(0, count, BATCH):
            sample = sample_of(decoder, min(BATCH, count - first), first)
            targets = [generator.cmlm.target(line) for line in sample["target"]]
            if len(found.references) < count:
                found.references.extend(decoder.task.target_dictionary.string(one, generator.joined) for one in targets)
                add_energies(found.energies, generator.cmlm, sample, targets)
            best = generator.best(generator.decode(sample), [""] * len(targets))
            texts.extend(generator._text(one[0]) for one in best)
    return found


def add_energies(found: dict[str, Tensor], cmlm, sample: dict, targets: list[Tensor]) -> None:
    """Append the energies of these targets to `found`, in nats a token."""
    lengths, context = torch.tensor([len(target) for target in targets]), torch.arange(len(targets))
    for name, nats in found.items():
        own = energies(cmlm, TranslationMHConfig(mh_energy=name), source_of(sample), targets, context).energy
        found[name] = torch.cat([nats, own / lengths])


def compare(data: str, sentences: int | None, more: Sequence[str]) -> Iterator[dict]:
    """Yield a row of the table for each precision and decoder; the first rows are float32's."""
    full = None
    for precision, own in PRECISIONS.items():
        found = decode(data, sentences, (*own, *more))
        full = full or found
        off = {energy: differences(nats, full.energies[energy]) for energy, nats in found.energies.items()}
        for decoder, texts in found.texts.items():
            differing = sum(a != b for a, b in zip(texts, full.texts[decoder], strict=True)) / len(texts)
            row = {"precision": precision, "decoder": decoder, "differing": differing}
            row |= {f"{energy}, {what}": float(getattr(nats, what)()) for energy, nats in off.items() for what in WHAT}
            yield row | {"BLEU": sacrebleu.corpus_bleu(texts, [found.references]).score}


def differences(nats: Tensor, others: Tensor) -> Tensor:
    """Return absolute differences of energies, without the infinite energies of references with unknown symbols."""
    return (nats - others)[others.isfinite()].abs()


WHAT = ("mean", "max")


def main():
    """Print each row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="fairseq data folder with a checkpoint.pt")
    parser.add_argument("--sentences", type=int, help="sentences of the test set; default: all")
    args, more = parser.parse_known_args()
    for row in compare(args.data, args.sentences, more):
        print(tabulate([row], headers="keys", floatfmt=".4f"), flush=True)


if __name__ == "__main__":
    main()
