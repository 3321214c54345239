"""Proposals from the masked conditionals (sections 3.1 and 3.2): mask some positions, draw them again.

    q(X' | X) = prod_{i in M} q_i(X'_i)        (q_i: see `conditional`)

One pass over the masked state gives the forward and the reverse probability, because X and X' are the same outside M.
M must be drawn without a look at the tokens, or its own probability belongs into the ratio, as that of an `Informed`
choice does. A proposal therefore brings its own scan: which positions the updates of a sweep mask.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.conditional import Conditional, conditional, inverse_cdf
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size, state_logits
from fairseq_mh.mcmc.scan import SCANS, Streams
from fairseq_mh.mcmc.state import State


class Proposed(NamedTuple):
    """A candidate for each of N chains, and the probabilities of proposing it and of the way back."""

    candidate: Tensor  # (N, T) long
    log_forward: Tensor  # (N,) nats: log q(candidate | state)
    log_reverse: Tensor  # (N,) nats: log q(state | candidate)
    rows: Tensor  # (N,) long: decoder rows spent
    masked: Tensor  # (N, T) bool: the positions that were drawn again
    order: Tensor  # (N, K) long, of an informed choice, or NOWHERE; its probability is not in the two above
    held: Tensor  # (N, T) long, of the candidate, as of `State`


class Proposal(Protocol):
    """A move: its scan, and how candidates are drawn."""

    def scan_positions(self, length: int, block_size: int, streams: Streams) -> np.ndarray:
        """Return the positions that each of a sweep's U updates masks in chains of one length: (N, U, length) bool."""
        ...

    def draws(self, masked: np.ndarray) -> int:
        """Return how many uniforms each of these updates (N, U, length) bool reads."""
        ...

    def __call__(self, lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, certainty: int) -> Proposed:
        """Draw a candidate for each chain.

        Args:
            masked: (N, T) bool; a chain with nothing masked proposes its own state.
            uniforms: (N, S) in [0, 1), of which a chain reads as many as `draws` says.
            certainty: the column of the scores that says how certain each position is.
        """
        ...


@dataclass(frozen=True)
class MaskedConditional:
    """Draw the masked positions of each chain independently from one pass; a chain's k-th one reads uniform k.

    Args:
        scan: a name of `SCANS`.
        log_q: `conditional` with its settings.

    Raises:
        ValueError: for a scan of another name.
    """

    scan: str = "random"
    log_q: Conditional = conditional

    def __post_init__(self):
        if self.scan not in SCANS:
            raise ValueError(f"the scan must be one of {', '.join(SCANS)}, and is {self.scan}")

    def scan_positions(self, length: int, block_size: int, streams: Streams) -> np.ndarray:
        return SCANS[self.scan](length, block_size, streams)

    def draws(self, masked: np.ndarray) -> int:
        return int(masked.sum(2).max())

    def __call__(self, lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, certainty: int = 0) -> Proposed:
        return draw_masked(lm, state, masked, uniforms, self.log_q)


def draw_masked(lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, log_q: Conditional) -> Proposed:
    """Draw the masked positions of each chain from one pass, as `MaskedConditional` says."""
    chain, site = masked.nonzero(as_tuple=True)
    features, spent = _features_kept_in_state(lm, state, masked, chain, site)
    current = state.tokens[chain, site]
    rank = (masked.cumsum(1) - 1)[chain, site]
    parts = (part.split(query_size(features)) for part in (features, current, uniforms[chain, rank]))
    draws = [_draw(log_q(state_logits(lm, features)), *rest) for features, *rest in zip(*parts, strict=True)]
    drawn, log_forward, log_reverse = map(torch.cat, zip(*draws, strict=True))
    candidate = state.tokens.clone()
    candidate[chain, site] = drawn
    zero = log_forward.new_zeros(len(masked))
    return Proposed(
        candidate=candidate,
        log_forward=zero.index_add(0, chain, log_forward),
        log_reverse=zero.index_add(0, chain, log_reverse),
        rows=spent,
        masked=masked,
        order=site.new_empty(len(masked), 0),
        held=state.held,
    )


def _draw(log_probs: Tensor, current: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw symbols (P,); return them with log q of them and of the current ones.

    Where the model's numbers are broken a position keeps its symbol, and the NaN of its log q rejects the candidate.
    """
    drawn = inverse_cdf(log_probs, uniforms)
    log_forward = log_probs.gather(-1, drawn[:, None])[:, 0]
    drawn = torch.where(log_forward.isnan(), current, drawn)
    return drawn, log_forward, log_probs.gather(-1, current[:, None])[:, 0]


def _features_kept_in_state(
    lm: MaskedLM, state: State, masked: Tensor, chain: Tensor, site: Tensor
) -> tuple[Tensor, Tensor]:
    """Return features (P, D) at the masked positions and the decoder rows (N,) that they took.

    A position that is masked alone is read from the state where the state knows it, and otherwise kept there, in
    place: its features are a function of the state's tokens. A `repeat`ed state has the features of its entries once.

    Args:
        masked: (N, T) bool.
        chain, site: (P,) long, where that is true.
    """
    alone = masked.sum(1).eq(1)
    entry = chain // (len(masked) // max(len(state.features), 1))
    known = alone[chain] & state.known[entry, site]
    asked = torch.zeros_like(alone, dtype=torch.long).index_add(0, chain, (~known).long()).clamp(max=1)
    features, rows = state.features[entry, site], asked.nonzero()[:, 0]
    if len(rows):
        missing = (~known).nonzero()[:, 0]
        found = features_of(lm, state.tokens[rows], masked[rows], state.context[rows])
        features[missing] = found
        place, learned = (entry[missing], site[missing]), alone[chain[missing]]  # an entry has one row at most
        state.features[place] = found.where(learned[:, None], state.features[place])
        state.known[place] |= learned
    return features, asked
