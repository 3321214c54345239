"""Mask-predict (Ghazvininejad et al., 2019), the heuristic that the sampler is compared with.

Every position starts masked. Each pass fills the masked positions with their most likely symbols, and then masks the n
least likely positions again; n falls linearly to 0. It runs on any `MaskedLM`, and no sequence ever holds a symbol
outside the state space.
"""

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.chain import finish
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, full_logits, query_size


class Filled(NamedTuple):
    """Sequences that were filled in.

    Attributes:
        tokens: (N, T) long, padded.
        scores: (N, T) nats, the log-probability of each symbol in the pass that chose it; 0 at padding.
        rows: (N,) long, decoder rows spent.
        history: (tokens, masked) after every fill and after every masking, (N, T) each.
    """

    tokens: Tensor
    scores: Tensor
    rows: Tensor
    history: list[tuple[Tensor, Tensor]]


def mask_predict(lm: MaskedLM, blank: Tensor, context: Tensor, number: int, masked: Tensor | None = None) -> Filled:
    """Fill sequences of known lengths; the arguments are those of `passes`."""
    return finish(passes(lm, blank, context, number, masked))


@torch.no_grad()
def passes(
    lm: MaskedLM, blank: Tensor, context: Tensor, number: int, masked: Tensor | None = None
) -> Generator[tuple[Tensor, Tensor], None, Filled]:
    """Fill sequences of known lengths; yield the tokens (N, T) and the masked positions (N, T) of each step.

    Args:
        lm: the model.
        blank: (N, T) long, `pad` after each sequence's end, anything else before it.
        context: (N,) long, which context each sequence belongs to.
        number: of passes; 1 fills an all-masked sequence greedily ("warm start"), and mask-predict in the literature
            has 10.
        masked: (N, T) bool, the positions to fill, the others being held; all of them unless given.
    """
    free = blank.ne(lm.pad) if masked is None else masked
    tokens, masked = blank, free
    scores = torch.zeros(blank.shape, device=blank.device)
    spent = torch.zeros_like(context)
    history = [(tokens, masked)]
    yield history[-1]
    for step in range(1, number + 1):
        tokens, scores = _fill(lm, tokens, scores, masked, context)
        spent += masked.any(1)
        history.append((tokens, torch.zeros_like(masked)))
        yield history[-1]
        if step < number:
            masked = _least_likely(scores, free, 1 - step / number)
            history.append((tokens, masked))
            yield history[-1]
    return Filled(tokens, scores, spent, history)


def _fill(lm: MaskedLM, tokens: Tensor, scores: Tensor, masked: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens and scores (N, T) with the likeliest symbols at the masked positions, from one pass."""
    unfinished = masked.any(1)  # a sequence without masks takes no row
    if not unfinished.any():
        return tokens, scores
    features = features_of(lm, tokens[unfinished], masked[unfinished], context[unfinished])
    likeliest = [_likeliest(lm, part) for part in features.split(query_size(features))]
    best, symbol = map(torch.cat, zip(*likeliest, strict=True))
    return tokens.masked_scatter(masked, symbol), scores.masked_scatter(masked, best.to(scores.dtype))


def _likeliest(lm: MaskedLM, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities (P,) of the likeliest symbols (P,) of the state space.

    The softmax is that of the whole vocabulary, as in the published decoder.
    """
    log_p = full_logits(lm, features).log_softmax(-1)
    best, symbol = log_p.masked_fill(~lm.allowed, -torch.inf).max(-1)
    return best, symbol


def _least_likely(scores: Tensor, free: Tensor, share: float) -> Tensor:
    """Return the given share of each sequence's free positions, the least likely ones: (N, T) bool.

    Their number is rounded down in float32, as fairseq does it.
    """
    count = (free.sum(1, keepdim=True).float() * share).long()
    order = scores.masked_fill(~free, torch.inf).argsort(1)
    ranks = torch.arange(scores.size(1), device=scores.device).expand_as(order)
    return torch.zeros_like(free).scatter(1, order, ranks < count)
