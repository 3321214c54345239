"""The plan of a batch's chains: their lengths, and their targets before the free positions are filled.

A plan has N chains: C chains for each of the K lengths of each of the B sentences. The C chains of one length are
adjacent.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError
from fairseq_mh.mcmc.state import FIXED
from fairseq_mh.translation.given.outline import FREE, Outline

SURE_LENGTHS = 10  # that many lengths of a sentence are decoded if they are asked for
PLAUSIBLE = 0.01  # a further length is decoded if it has this share of the likeliest length's probability


class Plan(NamedTuple):
    """The N chains of a batch of sentences.

    Attributes:
        context: (N,) long, the index of each chain's sentence in the batch.
        lengths: (N,) long, the number of tokens of each chain's states.
        chains: (N,) long, the index of each chain among the C chains of its sentence and length.
        length_scores: (N,) nats, log p(length | source) plus a reward for each token.
    """

    context: Tensor
    lengths: Tensor
    chains: Tensor
    length_scores: Tensor


def plan_chains(
    log_p: Tensor,
    chains: int,
    beam: int,
    gold: Tensor | None = None,
    reward: float = 0.0,
    symbols: Tensor | None = None,
) -> Plan:
    """Plan the chains of a batch: C chains at each of a sentence's likeliest lengths, or at its given length.

    From the eleventh length on, those are left out that are not plausible, or are more than the source has symbols.

    Args:
        log_p: (B, L) nats, the log-probability of each length; minus infinity at impossible lengths.
        chains: C, the number of chains of each length.
        beam: K, the number of lengths of each sentence; a sentence may have fewer plausible lengths.
        gold: (B,) long, the lengths to use instead of predicted ones; their log-probability counts as 0.
        reward: nats that are added to the score of a length for each token.
        symbols: (B,) long, the number of symbols of each source, because all lengths are plausible if the model's
            prediction of them was never trained; None is no limit.

    Raises:
        SentenceError: if a sentence has no possible length.
    """
    if gold is None:
        scores, lengths = log_p.topk(min(beam, log_p.size(1)), 1)  # (B, K)
    else:
        scores, lengths = torch.zeros_like(log_p[:, :1]), gold[:, None]
    possible = scores.isfinite()
    rank = torch.arange(scores.size(1), device=scores.device)
    plausible = scores >= scores[:, :1] + math.log(PLAUSIBLE)
    if symbols is not None:
        plausible &= rank < symbols[:, None]
    possible &= plausible | (rank < SURE_LENGTHS)
    if not possible.any(1).all():
        if log_p.isnan().any():
            raise SentenceError("no lengths: the model's length scores are NaN; if --fp16 is given, try without it")
        raise SentenceError("no lengths: the model predicts none at which the given parts have room")
    context = torch.arange(len(log_p), device=log_p.device)[:, None].expand_as(lengths)
    context, lengths, scores = (part[possible].repeat_interleave(chains) for part in (context, lengths, scores))
    number = torch.arange(chains, device=log_p.device).repeat(len(context) // chains)
    return Plan(context, lengths, number, scores + reward * lengths)


def lay_out(
    plan: Plan, outlines: Sequence[Outline], streams: Sequence[np.random.Generator], mask: int, pad: int
) -> tuple[Tensor, Tensor]:
    """Lay out the targets of a plan's chains before they are filled.

    Args:
        plan: the plan of N chains.
        outlines: the given parts of the targets of the B sentences.
        streams: the random stream of each chain; open blanks share the rest of the length at random.
        mask: the symbol at positions that are not held.
        pad: the symbol after a target's end.

    Returns:
        The targets (N, T) long, and the held positions (N, T) long as in `State`.
    """
    width = int(plan.lengths.max())
    given = np.full((len(streams), width), FREE)
    for n, (sentence, length) in enumerate(zip(plan.context.tolist(), plan.lengths.tolist(), strict=True)):
        given[n, :length] = outlines[sentence].of_length(length, streams[n])
    tokens = torch.from_numpy(given).to(plan.lengths)
    held, inside = tokens.ne(FREE), torch.arange(width, device=tokens.device) < plan.lengths[:, None]
    return tokens.masked_fill(~held, mask).masked_fill(~inside, pad), held * FIXED
