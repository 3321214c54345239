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
from tabulate import tabulate
from torch import Tensor

from benchmarks.decoding import Decoder, load_decoder, sample_of
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.translation.fairseq_format import source_of

PRECISIONS = {"float32": (), "bf16": ("--bf16",), "fp16": ("--fp16",)}
DECODERS = {
    "mask-predict": ("--mh-decoding", "mask-predict", "--iter-decode-max-iter", "9"),
    "the default": (),
}
ENERGY = "norm,two-stream"  # the terms that are evaluated for references
BATCH = 100  # sentences


class Decoded(NamedTuple):
    """The energies and translations of the sentences in one precision."""

    energies: dict[str, Tensor]  # name of the term -> (N,) nats a token, of the references
    texts: dict[str, list[str]]  # name of the decoder -> its translations
    references: list[str]  # text of the references


def decode(data: str, sentences: int | None, options: Sequence[str]) -> Decoded:
    """Evaluate and translate the first sentences of the test set, or all sentences if `sentences` is None."""
    texts = {name: translate(load_decoder(data, *own, *options), sentences) for name, own in DECODERS.items()}
    evaluating = load_decoder(data, *options, "--mh-energy", ENERGY)
    return Decoded(evaluate_references(evaluating, sentences), texts, references_of(evaluating, sentences))


def batches(decoder: Decoder, sentences: int | None) -> Iterator[dict]:
    """Yield the first sentences of the test set in batches, or all sentences if `sentences` is None."""
    available = len(decoder.task.dataset("test"))
    count = min(sentences or available, available)
    for first in range(0, count, BATCH):
        yield sample_of(decoder, min(BATCH, count - first), first)


def translate(decoder: Decoder, sentences: int | None) -> list[str]:
    """Return the best translation of each sentence."""
    generator, texts = decoder.generator, []
    for sample in batches(decoder, sentences):
        best = generator.best(finish(generator.events(sample)), [""] * len(sample["id"]))
        texts.extend(text_of(decoder, found[0].tokens) for found in best)
    return texts


def evaluate_references(decoder: Decoder, sentences: int | None) -> dict[str, Tensor]:
    """Return each term of the references' energy: name of the term -> (N,) nats a token."""
    parts: dict[str, list[Tensor]] = {}
    for sample in batches(decoder, sentences):
        targets = targets_of(decoder, sample)
        lengths, context = torch.tensor([len(target) for target in targets]), torch.arange(len(targets))
        evaluated = decoder.generator.scorer.evaluate(source_of(sample), targets, context)
        for name, nats in evaluated.by_name.items():
            parts.setdefault(name, []).append(nats / lengths)
    return {name: torch.cat(found) for name, found in parts.items()}


def references_of(decoder: Decoder, sentences: int | None) -> list[str]:
    """Return the text of the references."""
    samples = batches(decoder, sentences)
    return [text_of(decoder, target) for sample in samples for target in targets_of(decoder, sample)]


def targets_of(decoder: Decoder, sample: dict) -> list[Tensor]:
    """Return the tokens (T,) long of a batch's references, on the CPU."""
    return [decoder.generator.cmlm.target(line).cpu() for line in sample["target"]]


def text_of(decoder: Decoder, tokens: Tensor) -> str:
    """Return the words of a target's tokens (T,) long."""
    return decoder.task.target_dictionary.string(tokens, decoder.generator.joined)


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
