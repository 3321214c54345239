"""Where the noise of noise-contrastive estimation comes from."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import Bound
from fairseq_mh.mcmc.masked_lm import features_of, state_logits
from fairseq_mh.models.electric_transformer import ElectricTransformer


class Noised(NamedTuple):
    """Of B targets, as X'."""

    tokens: Tensor  # (B, T) long, padded
    sites: Tensor  # (B, T) bool: the positions of M, but for those that held no symbol of the state space
    drawn: Tensor  # (P,) bool: of these positions, those that are noise
    log_q: Tensor  # (P,) nats, of what stands there now


def noised(log_q: Tensor, tokens: Tensor, masked: Tensor, drawn: Tensor, strange: Tensor) -> Noised:
    """Draw anew where it says so.

    Args:
        log_q: (P, V) at the masked positions (B, T) bool of targets (B, T) long.
        drawn: (P,) bool.
        strange: (B, T) bool, masked positions whose symbols are outside the state space: drawn anew without counting.
    """
    counts = ~strange[masked]
    symbols = log_q.exp().multinomial(1)[:, 0].where(drawn | ~counts, tokens[masked])
    log_q = log_q.gather(-1, symbols[:, None])[:, 0]
    return Noised(tokens.masked_scatter(masked, symbols), masked & ~strange, drawn[counts], log_q[counts])


def conditionals(
    lm: Bound | None, electric: ElectricTransformer, encoded: dict, tokens: Tensor, masked: Tensor, allowed: Tensor
) -> tuple[Tensor, Tensor]:
    """log q (P, V) at the masked positions, over the state space, and the loss by which a cloze model learns them.

    Args:
        lm: the CMLM that draws the noise; None: the model's own cloze model does.
        allowed: (V,) bool, the state space.
    """
    if lm is not None:
        with torch.no_grad():
            rows = torch.arange(len(tokens), device=tokens.device)
            return state_logits(lm, features_of(lm, tokens, masked, rows)).log_softmax(-1), tokens.new_zeros(())
    assert electric.cloze is not None  # the criterion saw to it
    logits = electric.cloze(encoded, tokens)[masked].float()
    log_q = logits.detach().masked_fill(~allowed, -torch.inf).log_softmax(-1)
    return log_q, F.cross_entropy(logits, tokens[masked], reduction="sum")
