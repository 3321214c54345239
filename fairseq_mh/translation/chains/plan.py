"""The chains of a batch: their lengths, and what of their targets is given.

A plan has N chains: for each of the B sentences, C chains of each of its K lengths, those of one length side by side.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError
from fairseq_mh.mcmc.state import FIXED
from fairseq_mh.translation.given.outline import FREE, Outline


class Plan(NamedTuple):
    """The N chains of a batch of sentences."""

    context: Tensor  # (N,) long: the index of each chain's sentence in the batch
    lengths: Tensor  # (N,) long: the number of tokens of each chain's states
    chains: Tensor  # (N,) long: the number of each chain among those of its sentence and length
    length_scores: Tensor  # (N,) nats: log p(length | source), and a reward for each token


def plan_chains(log_p: Tensor, chains: int, beam: int, gold: Tensor | None = None, reward: float = 0.0) -> Plan:
    """Plan the chains of a batch: some of each of a sentence's likeliest lengths, or of its given length.

    Args:
        log_p: (B, L) nats, the log-probability of each length; minus infinity at impossible ones.
        chains: C, the number of chains of each length.
        beam: K, the number of lengths of each sentence; a sentence with fewer possible lengths has fewer.
        gold: (B,) long, the lengths to use instead; their log-probability counts as 0.
        reward: nats for each token, by which lengths compare.

    Raises:
        SentenceError: where a sentence has no possible length.
    """
    if gold is None:
        scores, lengths = log_p.topk(min(beam, log_p.size(1)), 1)  # (B, K)
    else:
        scores, lengths = torch.zeros_like(log_p[:, :1]), gold[:, None]
    possible = scores.isfinite()
    if not possible.any(1).all():
        raise SentenceError("no lengths: the model's scores of them are no numbers (NaN); with --fp16, try without")
    context = torch.arange(len(log_p), device=log_p.device)[:, None].expand_as(lengths)
    context, lengths, scores = (part[possible].repeat_interleave(chains) for part in (context, lengths, scores))
    number = torch.arange(chains, device=log_p.device).repeat(len(context) // chains)
    return Plan(context, lengths, number, scores + reward * lengths)


def lay_out(
    plan: Plan, outlines: Sequence[Outline], streams: Sequence[np.random.Generator], mask: int, pad: int
) -> tuple[Tensor, Tensor]:
    """Return the targets (N, T) long of a plan's chains before they are filled, and what is held, as of `State`.

    Args:
        plan: of N chains.
        outlines: of the B sentences.
        streams: of the chains.
        mask: the symbol of positions that are not held.
        pad: the symbol behind a target's end.
    """
    width = int(plan.lengths.max())
    given = np.full((len(streams), width), FREE)
    for n, (sentence, length) in enumerate(zip(plan.context.tolist(), plan.lengths.tolist(), strict=True)):
        given[n, :length] = outlines[sentence].of_length(length, streams[n])
    tokens = torch.from_numpy(given).to(plan.lengths)
    held, inside = tokens.ne(FREE), torch.arange(width, device=tokens.device) < plan.lengths[:, None]
    return tokens.masked_fill(~held, mask).masked_fill(~inside, pad), held * FIXED
