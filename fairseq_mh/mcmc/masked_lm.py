"""What the sampler asks of a model, and the one place where the state space is cut out of its vocabulary."""

from typing import Protocol

import torch
from torch import Tensor

IN_CACHE, ON_ACCELERATOR = 64, 2048


class Features(Protocol):
    """What reads sequences in a batch of contexts (source sentences, say)."""

    pad: int  # fills the positions behind a sequence's end

    def features(self, tokens: Tensor, masked: Tensor, rows: Tensor) -> Tensor:
        """Features at the masked positions.

        Args:
            tokens: (M, T) long, padded with `pad`; what stands at a masked position is not looked at.
            masked: (M, T) bool, the positions to mask in each row.
            rows: (M,) long, the context that each row belongs to.

        Returns:
            (P, D), one vector a masked position, in row-major order of `masked`.
        """
        ...


class MaskedLM(Features, Protocol):
    """A masked language model over a batch of contexts.

    `features` and `project` are apart so that a chain can keep the (N, T, D) features of its state:
    proposing at any site is then free, and the (N, T, V) logits never exist at once.
    """

    allowed: Tensor  # (V,) bool: the symbols that a state may hold

    def no_features(self, *sizes: int) -> Tensor:
        """Zeros (*sizes, D) of the dtype that features have."""
        ...

    def project(self, features: Tensor) -> Tensor:
        """Logits over the whole vocabulary: (..., D) -> (..., V)."""
        ...


def at_once(tensor: Tensor) -> int:
    """How many rows of a query, or positions with their logits, exist at once.

    On a CPU as many as stay in its cache (1.5 times the rows a second of 512); an accelerator is idle with so few.
    """
    return IN_CACHE if tensor.device.type == "cpu" else ON_ACCELERATOR


def features_of(lm: Features, tokens: Tensor, masked: Tensor, rows: Tensor) -> Tensor:
    """`lm.features` of any number of rows, by queries of a few, which are of about equal length: little padding."""
    by_length = tokens.ne(lm.pad).sum(1).argsort(stable=True)
    found = torch.cat([lm.features(tokens[m], masked[m], rows[m]) for m in by_length.split(at_once(tokens))])
    row = by_length.repeat_interleave(masked.sum(1)[by_length])  # of each vector found
    return found[row.argsort(stable=True)]


def full_logits(lm: MaskedLM, features: Tensor) -> Tensor:
    """The model's logits in at least float32, whatever its own dtype: (..., D) -> (..., V)."""
    logits = lm.project(features)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def state_logits(lm: MaskedLM, features: Tensor) -> Tensor:
    """Logits over the state space: minus infinity at the symbols that no state may hold.

    Energies and proposals both read these, so that they normalise over the same symbols.
    """
    return full_logits(lm, features).masked_fill(~lm.allowed, -torch.inf)
