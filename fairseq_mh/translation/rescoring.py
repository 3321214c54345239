"""Energies of translations that any system made: pseudo-log-likelihoods (Salazar et al., 2020), or Electric's.

Section 4.4 of Electric (Clark et al., 2020) ranks the translations of a source by them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.energies.electric import Electric
from fairseq_mh.energies.experts import Expert
from fairseq_mh.energies.target import translation_energy
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.translation.options.config import TranslationMHConfig


class Evaluated(NamedTuple):
    """The energies of N targets, and what they took."""

    energy: Tensor  # (N,) float64, nats: that of the options; infinite for a target that is no state
    by_name: dict[str, Tensor]  # of each term, without its weight; NaN where the options do not ask for it
    rows: int  # decoder rows
    expert_rows: int  # rows of autoregressive models


@torch.no_grad()
def energies(
    cmlm: CMLM,
    cfg: TranslationMHConfig,
    source: tuple[Tensor, Tensor],
    targets: Sequence[Tensor],
    context: Tensor,
    electric: Electric | None = None,
    experts: Sequence[Expert] = (),
) -> Evaluated:
    """Return the energies of N targets as chains would have them.

    Args:
        cmlm: the model.
        cfg: says which energy.
        source: tokens (B, S) long and lengths (B,) long.
        targets: N tensors (T,) long on the CPU, without padding.
        context: (N,) long on the CPU, the index of each target's source in the batch.
        electric: where the options name its energy.
        experts: further terms.
    """
    encoder_out = cmlm.model.forward_encoder(source)
    lm = cmlm.bind(encoder_out)
    energy = translation_energy(cfg, lm, encoder_out, source, electric, experts)
    total = torch.full((len(targets),), math.inf, dtype=torch.float64)
    by_name = {name: torch.full_like(total, math.nan) for name in energy.columns}
    allowed = cmlm.allowed.cpu()  # as the targets are
    states = [n for n, target in enumerate(targets) if 1 <= len(target) <= cmlm.longest and allowed[target].all()]
    if not states:
        return Evaluated(total, by_name, 0, 0)
    tokens = data_utils.collate_tokens([targets[n] for n in states], cmlm.pad).to(source[0].device)
    state, rows, expert_rows = Kernel(lm, energy).init(tokens, context[states].to(tokens.device))
    scores = state.scores.double()
    total[states] = energy.total(scores).cpu()
    for name, nats in energy.by_name(scores).items():
        by_name[name][states] = nats.cpu()
    return Evaluated(total, by_name, int(rows.sum()), int(expert_rows.sum()))
