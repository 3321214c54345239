"""Mask-predict (Ghazvininejad et al., 2019), the heuristic that the sampler is compared with.

Every position starts masked; each pass fills the masked positions with their most likely symbols,
then masks again the n least likely ones, n falling linearly to 0. Written on `MaskedLM`, so it runs
on any model and device; no state ever holds a symbol outside the state space.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, full_logits, query_size


class Filled(NamedTuple):
    tokens: Tensor  # (N, T) long, padded
    scores: Tensor  # (N, T) nats: each symbol's log-probability in the pass that chose it; 0 at padding
    rows: Tensor  # (N,) long: decoder rows spent
    history: list[tuple[Tensor, Tensor]]  # (tokens, masked) after every fill and after every masking


def mask_predict(lm: MaskedLM, blank: Tensor, context: Tensor, passes: int, masked: Tensor | None = None) -> Filled:
    """Fill sequences from nothing.

    Args:
        blank: (N, T) long: `pad` behind each sequence's end, anything else before it.
        context: (N,) long, which context each sequence belongs to.
        passes: 1 is the greedy fill of an all-masked sequence ("warm start"), 10 the literature's mask-predict.
        masked: (N, T) bool, what the first pass fills; everything unless given.
    """
    valid = blank.ne(lm.pad)
    tokens, masked = blank, valid if masked is None else masked
    scores = torch.zeros(blank.shape, device=blank.device)
    spent = torch.zeros_like(context)
    history = [(tokens, masked)]
    for step in range(1, passes + 1):
        asked = masked.any(1)
        tokens, scores = _fill(lm, tokens, scores, masked, asked, context)
        spent += asked
        history.append((tokens, torch.zeros_like(masked)))
        if step < passes:
            masked = _least_likely(scores, valid, 1 - step / passes)
            history.append((tokens, masked))
    return Filled(tokens, scores, spent, history)


def _fill(
    lm: MaskedLM, tokens: Tensor, scores: Tensor, masked: Tensor, asked: Tensor, context: Tensor
) -> tuple[Tensor, Tensor]:
    if not asked.any():
        return tokens, scores
    features = features_of(lm, tokens[asked], masked[asked], context[asked])
    found = [_likeliest(lm, part) for part in features.split(query_size(features))]
    best, symbol = map(torch.cat, zip(*found, strict=True))
    return tokens.masked_scatter(masked, symbol), scores.masked_scatter(masked, best.to(scores.dtype))


def _likeliest(lm: MaskedLM, features: Tensor) -> tuple[Tensor, Tensor]:
    """Ranked by the whole vocabulary's softmax, as the published decoder does; chosen from the state space."""
    log_p = full_logits(lm, features).log_softmax(-1)
    best, symbol = log_p.masked_fill(~lm.allowed, -torch.inf).max(-1)
    return best, symbol


def _least_likely(scores: Tensor, valid: Tensor, share: float) -> Tensor:
    """The given share (rounded down, in float32 as fairseq's) of each sequence's positions."""
    count = (valid.sum(1, keepdim=True).float() * share).long()
    order = scores.masked_fill(~valid, torch.inf).argsort(1)
    ranks = torch.arange(scores.size(1), device=scores.device).expand_as(order)
    return torch.zeros_like(valid).scatter(1, order, ranks < count)
