"""A masked language model given as one function, for whoever has a model of their own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class LogitsLM:
    """Puts a function from masked sequences to logits behind the `MaskedLM` protocol.

    The features that chains keep are the logits themselves: (N, T, V) numbers for N chains. A model with a large
    vocabulary does better with a class of its own, whose `features` are narrower and whose `project` makes logits.

    Args:
        logits: (tokens (M, T) long, masked (M, T) bool, context (M,) long) -> (P, V), the logits at the masked
            positions in row-major order; what stands in `tokens` at a masked position must not be looked at.
        vocabulary: V.
        pad: fills the positions behind a sequence's end; it is no state.
        forbidden: other symbols that no state may hold, such as a mask.
        device: where the logits are.
        dtype: of the logits.
    """

    def __init__(
        self,
        logits: Callable[[Tensor, Tensor, Tensor], Tensor],
        vocabulary: int,
        pad: int = -1,
        forbidden: Sequence[int] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.logits, self.pad, self.vocabulary, self.dtype = logits, pad, vocabulary, dtype
        allowed = torch.ones(vocabulary, dtype=torch.bool, device="cpu")
        allowed[[symbol for symbol in (pad, *forbidden) if symbol >= 0]] = False
        self.allowed = allowed.to(device)

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        return self.logits(tokens, masked, context)

    def no_features(self, *sizes: int) -> Tensor:
        return torch.zeros(*sizes, self.vocabulary, dtype=self.dtype, device=self.allowed.device)

    def project(self, features: Tensor) -> Tensor:
        return features
