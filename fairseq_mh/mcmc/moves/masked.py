"""Redraw masked positions from their conditionals (sections 3.1 and 3.2): single sites, or blocks of them.

    q(X' | X) = prod_{i in M} q_i(X'_i)        (q_i: see `conditional`)

One pass over the masked state gives the forward and the reverse probability, because X and X' are the same outside M.
M is drawn independently of the tokens; otherwise its own probability would belong in the ratio, as in `informed.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.mcmc.conditional import Conditional, conditional, inverse_cdf
from fairseq_mh.mcmc.masked_lm import MaskedLM, features_of, query_size, state_logits
from fairseq_mh.mcmc.move import Move, Proposed, Streams, SweepPlan, Update
from fairseq_mh.mcmc.state import State

Scan = Callable[[int, int, Streams], np.ndarray]  # length, block size, streams of N chains -> (N, U, length) bool


@dataclass(frozen=True)
class MaskedConditional(Move):
    """Draws the masked positions of each chain independently from one pass; the k-th position reads uniform k.

    Args:
        scan_name: a name of `SCANS`.
        log_q: `conditional` with its settings.

    Raises:
        ValueError: for an unknown scan.
    """

    scan_name: str = "random"
    log_q: Conditional = conditional

    def __post_init__(self):
        if self.scan_name not in SCANS:
            raise ValueError(f"the scan must be one of {', '.join(SCANS)}, not {self.scan_name}")

    def scan(self, free: int, phrases: int, block_size: int, streams: Streams) -> SweepPlan:
        ranks = SCANS[self.scan_name](free, block_size, streams) if free else np.zeros((len(streams), 0, 0), dtype=bool)
        return SweepPlan(ranks, np.zeros(ranks.shape[:2], dtype=int))

    def draws(self, plan: SweepPlan) -> int:
        return int(plan.ranks.sum(2).max(initial=0))

    def reuses_features(self, update: Update) -> Tensor:
        return update.masked.sum(-1).eq(1)

    def propose(self, lm: MaskedLM, state: State, update: Update, uniforms: Tensor) -> Proposed:
        return draw_masked(lm, state, update.masked, uniforms, self.log_q)


def random_scan(length: int, block_size: int, streams: Streams) -> np.ndarray:
    """Visit every position once, in random order."""
    return _in_blocks(np.stack([stream.permutation(length) for stream in streams]), block_size)


def sequential_scan(length: int, block_size: int, streams: Streams) -> np.ndarray:
    """Visit every position once, from left to right."""
    return _in_blocks(np.tile(np.arange(length), (len(streams), 1)), block_size)


def _in_blocks(order: np.ndarray, block_size: int) -> np.ndarray:
    """Return consecutive blocks of an order (N, length) of the positions; the last one may be smaller."""
    chains, length = order.shape
    masked = np.zeros((chains, -(-length // block_size), length), dtype=bool)
    masked[np.arange(chains)[:, None], np.arange(length) // block_size, order] = True
    return masked


def draw_masked(lm: MaskedLM, state: State, masked: Tensor, uniforms: Tensor, log_q: Conditional) -> Proposed:
    """Draw the masked positions (N, T) bool of each chain from one pass, as `MaskedConditional` does."""
    chain, site = masked.nonzero(as_tuple=True)
    features, rows = _features_kept_in_state(lm, state, masked, chain, site)
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
        held=state.held,
        log_forward=zero.index_add(0, chain, log_forward),
        log_reverse=zero.index_add(0, chain, log_reverse),
        rows=rows,
        masked=masked,
        order=site.new_empty(len(masked), 0),
    )


def _draw(log_probs: Tensor, current: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw symbols (P,); return them, their log q, and the log q of the current symbols.

    If log q is NaN, the position keeps its symbol, and the NaN rejects the candidate.
    """
    drawn = inverse_cdf(log_probs, uniforms)
    log_forward = log_probs.gather(-1, drawn[:, None])[:, 0]
    drawn = torch.where(log_forward.isnan(), current, drawn)
    return drawn, log_forward, log_probs.gather(-1, current[:, None])[:, 0]


def _features_kept_in_state(
    lm: MaskedLM, state: State, masked: Tensor, chain: Tensor, site: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the features (P, D) at the masked positions, and the decoder rows (N,) that they took.

    If only one position of a chain is masked, its features depend only on the state's other tokens. They are read from
    the state if it knows them, and otherwise computed and stored there, in place. A result of `repeat` has the features
    of each of its entries once.

    Args:
        lm: the model.
        state: the states of N chains.
        masked: (N, T) bool.
        chain, site: (P,) long, the indices at which `masked` is true.
    """
    single = masked.sum(1).eq(1)
    entry = chain // (len(masked) // max(len(state.features), 1))
    known = single[chain] & state.known[entry, site]
    asked = torch.zeros_like(single, dtype=torch.long).index_add(0, chain, (~known).long()).clamp(max=1)
    features, rows = state.features[entry, site], asked.nonzero()[:, 0]
    if len(rows):
        missing = (~known).nonzero()[:, 0]
        found = features_of(lm, state.tokens[rows], masked[rows], state.context[rows])
        features[missing] = found
        place, learned = (entry[missing], site[missing]), single[chain[missing]]  # an entry has one row at most
        state.features[place] = found.where(learned[:, None], state.features[place])
        state.known[place] |= learned
    return features, asked


SCANS: dict[str, Scan] = {"random": random_scan, "sequential": sequential_scan}
