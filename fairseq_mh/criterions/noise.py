"""The noise of noise-contrastive estimation: its distribution, and targets that contain it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_mh.architectures.electric_transformer import ElectricTransformer
from fairseq_mh.masked_lms.cmlm import BoundCMLM
from fairseq_mh.mcmc.masked_lm import features_of, state_logits


class Noised(NamedTuple):
    """A batch of B targets that contain noise, X'."""

    tokens: Tensor  # (B, T) long, padded
    sites: Tensor  # (B, T) bool, the masked positions M, except where the symbol was outside the state space
    is_noise: Tensor  # (P,) bool, the sites whose symbols were drawn from q
    log_q: Tensor  # (P,) nats, the log-probabilities of the symbols that are now at the sites


def add_noise(log_q: Tensor, tokens: Tensor, masked: Tensor, is_noise: Tensor, outside: Tensor) -> Noised:
    """Replace the symbols at some of the masked positions by draws from q.

    Args:
        log_q: (P, V) nats, at the masked positions.
        tokens: (B, T) long, the targets, padded.
        masked: (B, T) bool, P positions in all.
        is_noise: (P,) bool, the masked positions to draw.
        outside: (B, T) bool, masked positions whose symbols are outside the state space; they are always drawn, and
            the result's sites leave them out.

    Returns:
        The targets with noise.
    """
    inside = ~outside[masked]
    symbols = log_q.exp().multinomial(1)[:, 0].where(is_noise | ~inside, tokens[masked])
    log_q = log_q.gather(-1, symbols[:, None])[:, 0]
    return Noised(tokens.masked_scatter(masked, symbols), masked & ~outside, is_noise[inside], log_q[inside])


def noise_log_probs(
    lm: BoundCMLM | None, electric: ElectricTransformer, encoded: dict, tokens: Tensor, masked: Tensor, allowed: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log q at the masked positions, and the loss of the cloze model that learns q.

    Args:
        lm: the CMLM that draws the noise, or None if Electric's own cloze model draws it.
        electric: the model that is trained.
        encoded: the output of Electric's encoder.
        tokens: (B, T) long, the targets, padded.
        masked: (B, T) bool, P positions in all.
        allowed: (V,) bool, the state space.

    Returns:
        (P, V) nats, log q, which is minus infinity outside the state space; and the sum of the loss over the positions,
        a scalar in nats, which is 0 if a CMLM draws the noise.
    """
    if lm is not None:
        with torch.no_grad():
            context = torch.arange(len(tokens), device=tokens.device)
            return state_logits(lm, features_of(lm, tokens, masked, context)).log_softmax(-1), tokens.new_zeros(())
    assert electric.cloze is not None  # the criterion refuses an Electric that has no source of noise
    logits = electric.cloze(encoded, tokens)[masked].float()
    log_q = logits.detach().masked_fill(~allowed, -torch.inf).log_softmax(-1)
    return log_q, F.cross_entropy(logits, tokens[masked], reduction="sum")
