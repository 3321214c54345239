"""Energies of translations that any system made: pseudo-log-likelihoods (Salazar et al., 2020), or Electric's.

Section 4.4 of Electric (Clark et al., 2020) ranks the translations of a source by them.
"""

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
    """Return the energies of N targets, and the decoder rows that they took.

    Args:
        cmlm: the model.
        electric: needed for the energy `electric` alone.
        source: tokens (B, S) long and lengths (B,) long.
        targets: N tensors (T,) long, without padding.
        context: (N,) long, the index of each target's source in the batch.
        name: of the energy, in `ENERGIES` or `ONE_PASS_ENERGIES`.

    Returns:
        (N,) float64, nats, infinite for a target that is no state; and the number of rows.
    """
    found = torch.full((len(targets),), math.inf, dtype=torch.float64)
    states = [n for n, target in enumerate(targets) if 1 <= len(target) <= cmlm.longest and cmlm.allowed[target].all()]
    if not states:
        return found, 0
    encoder_out = cmlm.model.forward_encoder(source)
    tokens = data_utils.collate_tokens([targets[n] for n in states], cmlm.pad).to(source[0].device)
    valid, context = tokens.ne(cmlm.pad), context[states].to(tokens.device)
    lm = cmlm.bind(encoder_out)
    if name in ONE_PASS_ENERGIES:
        energy = electric.bind(encoder_out, source) if name == "electric" and electric else TwoStream(lm)
        shares, spent = energy(lm, tokens, context)
    else:
        scores = site_scores(evaluate(lm, tokens, context, valid).scores, name).double()
        shares, spent = torch.zeros_like(tokens, dtype=torch.float64).masked_scatter(valid, scores), valid.sum(1)
    found[states] = -shares.sum(1).cpu()
    return found, int(spent.sum())
