"""Alternatives at a position of a translation, the translation's energy with each of them, and log-probabilities."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.engine.linear import bf16_products
from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.energy import as_energy, evaluate
from fairseq_mh.mcmc.masked_lm import features_of, state_logits
from fairseq_mh.translation.scorer import Scorer, Source


class Alternative(NamedTuple):
    """A symbol at one position of a translation whose other positions stay the same.

    Attributes:
        token: the symbol.
        log_prob: nats, the log-probability of the symbol given all others.
        tokens: (T,) long, the translation with this symbol.
        energy: nats, the energy of that translation.
        token_log_probs: (T,) nats, the log-probabilities of its tokens, as in `Translation`.
    """

    token: int
    log_prob: float
    tokens: Tensor
    energy: float
    token_log_probs: Tensor


@torch.no_grad()
def alternatives(scorer: Scorer, source: Source, tokens: Tensor, position: int, count: int) -> list[Alternative]:
    """Return the likeliest symbols at a position, the likeliest one first.

    The probabilities take one decoder row, in which the position is masked. The energies take as many rows as an
    evaluation of each translation.

    Args:
        scorer: the models.
        source: the source of one sentence.
        tokens: (T,) long, the translation, on any device.
        position: the index of the position, from 0.
        count: the number of symbols; the current symbol is added if it is not one of them.

    Raises:
        UserError: if the translation is not a state of the chains, or has no such position.
    """
    scorer.require_state(tokens)
    if not 0 <= position < len(tokens):
        raise UserError(f"there is no position {position}: give 0 to {len(tokens) - 1}")
    tokens = tokens.to(source[0].device)
    here = torch.arange(len(tokens), device=tokens.device)[None] == position  # (1, T)
    context = tokens.new_zeros(1)
    with bf16_products(scorer.in_bf16):
        bound = scorer.bind(source)
        lm, energy = bound.lm, bound.energy
        log_p = state_logits(lm, features_of(lm, tokens[None], here, context)).log_softmax(-1)[0]  # (V,)
        symbols = log_p.topk(min(count, int(lm.allowed.sum()))).indices
        current = tokens[position : position + 1]
        if not (symbols == current).any():
            symbols = torch.cat([symbols, current])
        candidates = tokens.repeat(len(symbols), 1)  # (K, T)
        candidates[:, position] = symbols
        scores = evaluate(lm, energy, candidates, context.expand(len(symbols))).state.scores.cpu()
    found = zip(symbols.tolist(), log_p[symbols].tolist(), candidates.cpu(), energy.total(scores).tolist(), strict=True)
    return [Alternative(*parts, shares) for parts, shares in zip(found, scores[..., energy.certainty], strict=True)]


@torch.no_grad()
def log_probs(scorer: Scorer, source: Source, targets: Sequence[Tensor]) -> list[Tensor]:
    """Return the log-probability of each token of translations of one source, given all other tokens.

    Each takes a decoder row, in which the token is masked. An energy from one pass, such as two streams, only
    approximates them.

    Args:
        scorer: the models.
        source: the source of one sentence.
        targets: N tensors (T,) long on the CPU, which may differ in length.

    Returns:
        N tensors (T,) in nats, on the CPU.
    """
    if not targets:
        return []
    tokens = data_utils.collate_tokens(list(targets), scorer.cmlm.pad).to(source[0].device)
    with bf16_products(scorer.in_bf16):
        lm = scorer.cmlm.bind(scorer.cmlm.model.forward_encoder(source))
        scores = evaluate(lm, as_energy("norm"), tokens, tokens.new_zeros(len(targets))).state.scores.cpu()
    return [row[: len(target), 0] for row, target in zip(scores, targets, strict=True)]
