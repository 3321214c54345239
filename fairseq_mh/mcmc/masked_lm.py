"""The protocol of a model for the sampler, and the only place that restricts its vocabulary to the state space."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor


class LogitsLM:
    """A `MaskedLM` made of a function that maps masked sequences to logits.

    Chains keep the logits themselves as features: (N, T, V) numbers for N chains. A model with a large vocabulary
    should have a class of its own, whose `features` are narrower and whose `project` makes logits of them.

    Args:
        logits: (tokens (M, T) long, masked (M, T) bool, context (M,) long) -> (P, V), the logits at the masked
            positions in row-major order; the function must not look at the symbol at a masked position.
        vocabulary: V, the number of symbols.
        pad: the symbol that fills the positions after a sequence's end; no state may hold it.
        forbidden: other symbols that no state may hold, such as a mask.
        device: the device of the logits.
        dtype: the dtype of the logits.
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


QUERY_ON_CPU = 64  # rows
QUERY_TAKES = 128  # positions that take as long as one more query on a CPU
QUERY_ON_ACCELERATOR = 2048  # rows on an accelerator that does not report its free memory
FEWEST, MOST = 256, 16384  # rows of a query on a GPU
QUERY_SHARE = 0.25  # of the free memory of a GPU
ROW_BYTES = 2**21  # memory of one row of a Transformer base, logits included


class Features(Protocol):
    """Reads sequences, each in one of a batch of contexts (source sentences, say).

    Attributes:
        pad: the symbol that fills the positions after a sequence's end.
    """

    pad: int

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        """Return a feature vector for each masked position.

        Args:
            tokens: (M, T) long, padded with `pad`; the symbol at a masked position is not looked at.
            masked: (M, T) bool, the positions to mask in each row.
            context: (M,) long, which context each row belongs to.

        Returns:
            (P, D), in row-major order of `masked`.
        """
        ...


class MaskedLM(Features, Protocol):
    """A masked language model over a batch of contexts.

    `features` and `project` are separate so that a chain can keep the (N, T, D) features of its state: a proposal at
    any position then takes no row, and the (N, T, V) logits never exist at once.

    Attributes:
        allowed: (V,) bool, the symbols that a state may hold.
    """

    allowed: Tensor

    def no_features(self, *sizes: int) -> Tensor:
        """Return zeros (*sizes, D) of the dtype and on the device of the features."""
        ...

    def project(self, features: Tensor) -> Tensor:
        """Return logits over the whole vocabulary: (..., D) -> (..., V)."""
        ...


def query_size(tensor: Tensor) -> int:
    """Return how many rows of a query, or how many positions with their logits, exist at once.

    On a CPU, as many as stay in the cache with one or two threads (docs/gpu.md). An accelerator would be idle with so
    few; a GPU takes as many as fit into a share of the memory that was free at the first query.
    """
    if tensor.device.type == "cpu":
        return QUERY_ON_CPU
    return _query_on(tensor.device) if tensor.is_cuda else QUERY_ON_ACCELERATOR


@lru_cache
def _query_on(device: torch.device) -> int:
    """Return how many rows of a query fit into the share of a GPU's free memory."""
    free, _ = torch.cuda.mem_get_info(device)
    return min(max(int(QUERY_SHARE * free / ROW_BYTES), FEWEST), MOST)


def features_of(lm: Features, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
    """Return `lm.features` of any number of rows, in queries of at most `query_size` rows of about equal length.

    Its arguments and result are those of `Features.features`.
    """
    lengths = tokens.ne(lm.pad).sum(1)
    by_length = lengths.argsort(stable=True)
    queries = by_length.split(query_size(tokens))
    if tokens.device.type == "cpu":
        queries = by_length.split([size for rows in queries for size in _sizes_without_padding(lengths[rows])])
    found = torch.cat([lm.features(tokens[rows], masked[rows], context[rows]) for rows in queries])
    # The row of each vector. The output size is known: without it, the CPU would wait for a GPU to sum the repeats.
    row = by_length.repeat_interleave(masked.sum(1)[by_length], output_size=len(found))
    return found[row.argsort(stable=True)]


def _sizes_without_padding(lengths: Tensor) -> list[int]:
    """Cut a query's rows where that saves more padding than another query takes.

    Args:
        lengths: (M,) long on the CPU, the rows' lengths in ascending order.

    Returns:
        The numbers of successive rows.
    """
    count = len(lengths)
    saved = (lengths[-1:] - lengths) * torch.arange(1, count + 1, device=lengths.device)  # by a cut after each row
    if count and saved.max() > QUERY_TAKES:
        cut = int(saved.argmax()) + 1
        return _sizes_without_padding(lengths[:cut]) + _sizes_without_padding(lengths[cut:])
    return [count]


def full_logits(lm: MaskedLM, features: Tensor) -> Tensor:
    """Return the model's logits in at least float32, whatever its own dtype: (..., D) -> (..., V)."""
    logits = lm.project(features)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def state_logits(lm: MaskedLM, features: Tensor) -> Tensor:
    """Return logits over the state space, minus infinity at the symbols that no state may hold: (..., D) -> (..., V).

    Energies and proposals both read these, so that they normalise over the same symbols.
    """
    return full_logits(lm, features).where(lm.allowed, -torch.inf)  # faster than `masked_fill`
