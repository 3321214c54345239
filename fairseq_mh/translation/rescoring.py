"""Pseudo-log-likelihoods of translations that any system made (Salazar et al., 2020; Electric, section 4.4)."""

import math
from collections.abc import Sequence

import torch
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.masked_lms.electric import Electric
from fairseq_mh.masked_lms.two_stream import TwoStream
from fairseq_mh.mcmc.energy import evaluate, site_scores
from fairseq_mh.translation.options import ONE_PASS_ENERGIES


@torch.no_grad()
def energies(
    cmlm: CMLM,
    electric: Electric | None,
    source: tuple[Tensor, Tensor],
    targets: Sequence[Tensor],
    context: Tensor,
    name: str,
) -> tuple[Tensor, int]:
    """Nats (N,) float64 of targets (T,), infinite where one is no state, and the decoder rows that they took.

    Args:
        electric: for the energy of that name alone.
        name: of `ENERGIES` or `ONE_PASS_ENERGIES`.
        source: tokens (B, S) and lengths (B,).
        context: (N,) long, each target's source in the batch.
    """
    found = torch.full((len(targets),), math.inf, dtype=torch.float64)
    states = [n for n, target in enumerate(targets) if 1 <= len(target) <= cmlm.longest and cmlm.allowed[target].all()]
    if not states:
        return found, 0
    encoder_out = cmlm.model.forward_encoder(source)
    tokens = data_utils.collate_tokens([targets[n] for n in states], cmlm.pad).to(source[0].device)
    valid, sentences = tokens.ne(cmlm.pad), context[states].to(tokens.device)
    lm = cmlm.bind(encoder_out)
    if name in ONE_PASS_ENERGIES:
        energy = electric.bind(encoder_out, source) if name == "electric" and electric else TwoStream(lm)
        shares, spent = energy(lm, tokens, sentences)
    else:
        scores = site_scores(evaluate(lm, tokens, sentences, valid).scores, name).double()
        shares, spent = torch.zeros_like(tokens, dtype=torch.float64).masked_scatter(valid, scores), valid.sum(1)
    found[states] = -shares.sum(1).cpu()
    return found, int(spent.sum())
