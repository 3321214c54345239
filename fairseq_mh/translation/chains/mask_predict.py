"""Mask-predict (Ghazvininejad et al., 2019), the heuristic that the sampler is compared with.

Every position starts masked. Each pass fills the masked positions with their most likely symbols, and then masks the n
least likely positions again; n falls linearly to 0. The algorithm runs on any `MaskedLM`, and never fills in a symbol
outside the state space.
"""

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_mh.mcmc.chain import finish
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, full_logits, query_size


class Filled(NamedTuple):
    """Sequences whose masked positions have been filled.

    Attributes:
        tokens: (N, T) long, padded.
        scores: (N, T) nats, the log-probability of each symbol in the pass that chose it; 0 at padding.
        rows: (N,) long, decoder rows spent.
        history: the tokens (N, T) long and masked positions (N, T) bool after every fill and every masking.
    """

    tokens: Tensor
    scores: Tensor
    rows: Tensor
    history: list[tuple[Tensor, Tensor]]


def mask_predict(lm: MaskedLM, blank: Tensor, context: Tensor, number: int, masked: Tensor | None = None) -> Filled:
    """Fill sequences of known lengths; takes the arguments of `passes`."""
    return finish(passes(lm, blank, context, number, masked))


@torch.no_grad()
def passes(
    lm: MaskedLM, blank: Tensor, context: Tensor, number: int, masked: Tensor | None = None
) -> Generator[tuple[Tensor, Tensor], None, Filled]:
    """Fill sequences of known lengths, one step at a time.

    Args:
        lm: the model.
        blank: (N, T) long, `pad` after each sequence's end; the symbols at positions to fill are ignored.
        context: (N,) long, the index of each sequence's context.
        number: the number of passes; 1 fills an all-masked sequence greedily ("warm start"). The literature uses 10.
        masked: (N, T) bool, the positions to fill; the other positions are held. All positions by default.

    Yields:
        The tokens (N, T) long and the masked positions (N, T) bool of each step.

    Returns:
        The filled sequences.
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
    """Fill the masked positions with their likeliest symbols in one pass; return tokens and scores, (N, T) each."""
    unfinished = masked.any(1)  # a sequence without masks takes no row
    if not unfinished.any():
        return tokens, scores
    features = features_of(lm, tokens[unfinished], masked[unfinished], context[unfinished])
    likeliest = [_likeliest(lm, part) for part in features.split(query_size(features))]
    best, symbol = map(torch.cat, zip(*likeliest, strict=True))
    return tokens.masked_scatter(masked, symbol), scores.masked_scatter(masked, best.to(scores.dtype))


def _likeliest(lm: MaskedLM, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the likeliest symbols (P,) long of the state space, after their log-probabilities (P,).

    The softmax is over the whole vocabulary, as in the published decoder.
    """
    log_p = full_logits(lm, features).log_softmax(-1)
    best, symbol = log_p.masked_fill(~lm.allowed, -torch.inf).max(-1)
    return best, symbol


def _least_likely(scores: Tensor, free: Tensor, share: float) -> Tensor:
    """Return the least likely positions (N, T) bool, a given share of each sequence's free ones.

    Their number is computed in float32 and rounded down, as in fairseq.
    """
    count = (free.sum(1, keepdim=True).float() * share).long()
    order = scores.masked_fill(~free, torch.inf).argsort(1)
    ranks = torch.arange(scores.size(1), device=scores.device).expand_as(order)
    return torch.zeros_like(free).scatter(1, order, ranks < count)
