#!/usr/bin/env python3
"""Measure how well cheap energies reproduce E_norm's order of the translations of one source.

    python -m benchmarks.correlation models/libreoffice-de-en --electric electric.pt

The translations resemble the states that a chain visits: they start from mask-predict's translation, and 15 or 40 % of
the positions are redrawn repeatedly. The program prints two figures for each cheap energy, both averaged over the first
sentences of the validation set: Spearman's correlation with E_norm within a sentence, and the standard deviation, in
nats, of the difference from E_norm within a sentence.
"""

import argparse
from functools import partial

import numpy as np
import scipy.stats
import torch
from tabulate import tabulate

from benchmarks.decoding import load_decoder, sample_of
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.moves.masked import draw_masked
from fairseq_mh.mcmc.state import unevaluated
from fairseq_mh.translation.chains.mask_predict import mask_predict
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.scorer import Scorer

BATCH = 10  # sentences


def draw_translations(lm, blank, context, number):
    """Draw several translations of each of N sentences.

    Args:
        lm: the CMLM, bound to the sentences.
        blank: (N, T) long, masks, and `pad` after each translation's end.
        context: (N,) long, the index of each sentence.
        number: the number of translations of each sentence.

    Returns:
        (number * N, T) long, the first translation of every sentence, then the second of every sentence, and so on.
    """
    tokens, found = mask_predict(lm, blank, context, 10).tokens, []
    for step in range(number):
        start = tokens if step % 2 == 0 else found[-1]
        masked = start.ne(lm.pad) & (torch.rand(start.shape) < (0.15 if step % 4 < 2 else 0.4))
        log_q = partial(conditional, temperature=1.0 if step % 3 else 0.7)
        uniforms = torch.rand(start.shape, dtype=torch.float64)
        found.append(draw_masked(lm, unevaluated(lm, start, context), masked, uniforms, log_q).candidate)
    return torch.cat(found)


def compare_energies(scorer: Scorer, sample: dict, number: int) -> dict[str, np.ndarray]:
    """Return each energy of several translations of each sentence of a batch.

    Args:
        scorer: the models; each term of their energy is evaluated.
        sample: fairseq's batch of N sentences.
        number: the number of translations of each sentence.

    Returns:
        name of the term -> (number, N) nats, without its weight.
    """
    source, cmlm = source_of(sample), scorer.cmlm
    bound, context = scorer.bind(source), torch.arange(len(source[0]))
    lengths = cmlm.length_log_probs(bound.encoder_out).argmax(1)
    blank = torch.where(torch.arange(int(lengths.max())) < lengths[:, None], cmlm.mask, cmlm.pad)
    tokens = draw_translations(bound.lm, blank, context, number)
    targets = [line[line.ne(cmlm.pad)] for line in tokens]
    found = scorer.evaluate(source, targets, context.repeat(number))
    return {name: nats.view(number, -1).numpy() for name, nats in found.by_name.items()}


@torch.no_grad()
def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a fairseq data folder with checkpoint.pt")
    parser.add_argument("--electric", help="checkpoint of an electric_transformer")
    parser.add_argument("--sentences", type=int, default=60, help="sentences of validation; default: %(default)s")
    parser.add_argument("--states", type=int, default=24, help="translations of each sentence; default: %(default)s")
    args = parser.parse_args()
    torch.manual_seed(1)
    energy = ",".join(["norm", "two-stream", *([args.electric] if args.electric else [])])
    loaded, found = load_decoder(args.data, "--mh-energy", energy, subset="valid"), {}
    for first in range(0, args.sentences, BATCH):
        batch = compare_energies(loaded.generator.scorer, sample_of(loaded, BATCH, first, "valid"), args.states)
        for name, nats in batch.items():
            found.setdefault(name, []).append(nats)
    (_, norm), *others = [(name, np.concatenate(parts, 1).T) for name, parts in found.items()]
    lines = []
    for name, nats in others:
        correlation = [scipy.stats.spearmanr(*pair).statistic for pair in zip(norm, nats, strict=True)]
        lines.append([name, np.nanmean(correlation), (nats - norm).std(1).mean()])
    print(tabulate(lines, ["energy", "Spearman's correlation", "deviation, nats"], floatfmt=".3f"))


if __name__ == "__main__":
    main()
