"""Where chains begin: their lengths, and their first states.

A plan has N chains: for each of the B sentences, C chains of each of its K lengths, those of one length side by side.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError
from fairseq_mh.masked_lms.cmlm import BoundCMLM
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.proposal import draw_masked
from fairseq_mh.mcmc.state import unevaluated
from fairseq_mh.mcmc.target import Energy
from fairseq_mh.translation.mask_predict import Filled, mask_predict

Progress = Callable[[int, int], object]  # called with the sweeps that ended since the last call, and those of the batch


class Plan(NamedTuple):
    """The N chains of a batch of sentences."""

    context: Tensor  # (N,) long: the index of each chain's sentence in the batch
    lengths: Tensor  # (N,) long: the number of tokens of each chain's states
    chains: Tensor  # (N,) long: the number of each chain among those of its sentence and length
    length_scores: Tensor  # (N,) nats: log p(length | source), and a reward for each token


def plan_chains(log_p: Tensor, chains: int, beam: int, gold: Tensor | None = None, reward: float = 0.0) -> Plan:
    """Plan the chains of a batch: some of each of a sentence's likeliest lengths, or of its given length.

    Args:
        log_p: (B, L) nats, the log-probability of each length; minus infinity at impossible ones.
        chains: C, the number of chains of each length.
        beam: K, the number of lengths of each sentence; a sentence with fewer possible lengths has fewer.
        gold: (B,) long, the lengths to use instead; their log-probability counts as 0.
        reward: nats for each token, by which lengths compare.

    Raises:
        SentenceError: where a sentence has no possible length.
    """
    if gold is None:
        scores, lengths = log_p.topk(min(beam, log_p.size(1)), 1)  # (B, K)
    else:
        scores, lengths = torch.zeros_like(log_p[:, :1]), gold[:, None]
    possible = scores.isfinite()
    if not possible.any(1).all():
        raise SentenceError("no lengths: the model's scores of them are no numbers (NaN); with --fp16, try without")
    context = torch.arange(len(log_p), device=log_p.device)[:, None].expand_as(lengths)
    context, lengths, scores = (part[possible].repeat_interleave(chains) for part in (context, lengths, scores))
    number = torch.arange(chains, device=log_p.device).repeat(len(context) // chains)
    return Plan(context, lengths, number, scores + reward * lengths)


class Start(NamedTuple):
    """What is known before the chains of a batch start; the functions of STARTS read it."""

    lm: BoundCMLM
    plan: Plan
    blank: Tensor  # (N, T) long: `pad` after each chain's end, anything else before it
    passes: int  # the number of mask-predict's passes
    streams: list[np.random.Generator]  # each chain's own randomness
    reference: Tensor | None  # (B, T') long, padded, without special tokens
    energy: Energy  # the target's
    filled: Filled | None = None  # mask-predict's result, where it was run to choose the lengths
    spent: Tensor | int = 0  # (N,) long: the decoder rows that this took
    progress: Progress | None = None


def part_of(start: Start, chains: Tensor) -> Start:
    """Return the start of these chains (M,) long alone."""
    filled = start.filled
    return start._replace(
        plan=Plan(*(part[chains] for part in start.plan)),
        blank=start.blank[chains],
        streams=[start.streams[n] for n in chains.tolist()],
        filled=filled if filled is None else Filled(*(part[chains] for part in filled[:3]), []),
    )


def at_likeliest_lengths(start: Start) -> Start:
    """Keep the length of each sentence whose mask-predict translation has the highest mean log-probability."""
    plan = start.plan
    first = plan.chains.eq(0).nonzero()[:, 0]  # the first chain of each length
    context = plan.context[first]
    filled = mask_predict_start(part_of(start, first))
    mean = (filled.scores.sum(1) / plan.lengths[first]).nan_to_num(nan=-torch.inf)
    best: dict[int, int] = {}  # sentence -> the index in `first` of its best length
    for index, sentence in enumerate(context.tolist()):
        best[sentence] = max(best.get(sentence, index), index, key=lambda n: float(mean[n]))
    indices = torch.tensor([best[sentence] for sentence in plan.context.tolist()], device=first.device)  # (N,)
    kept = (plan.lengths == plan.lengths[first][indices]).nonzero()[:, 0]
    plan, indices = Plan(*(part[kept] for part in plan)), indices[kept]
    longest = int(plan.lengths.max())
    spent = context.new_zeros(len(best)).index_add(0, context, filled.rows)  # (B,), counted in the first chain
    return start._replace(
        plan=plan,
        blank=start.blank[kept, :longest],
        streams=[start.streams[n] for n in kept.tolist()],
        filled=Filled(
            tokens=filled.tokens[indices, :longest],
            scores=filled.scores[indices, :longest],
            rows=torch.zeros_like(indices),
            history=[],
        ),
        spent=spent[plan.context].where(plan.chains == 0, 0),
    )


def warm_start(start: Start) -> Filled:
    """Fill the all-masked target greedily in one pass, as the paper does."""
    return mask_predict(start.lm, start.blank, start.plan.context, 1)


def masked_start(start: Start) -> Filled:
    """Draw all positions at once from the conditionals of the all-masked target, at temperature 1."""
    valid = start.blank.ne(start.lm.pad)
    uniforms = torch.ones(start.blank.shape, dtype=torch.float64)
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        uniforms[n, :length] = torch.from_numpy(stream.random(length))
    # The symbols that are masked here are kept where the model's numbers are broken, so they must be states.
    tokens = start.blank.masked_fill(valid, int(start.lm.allowed.nonzero()[0]))
    state = unevaluated(start.lm, tokens, start.plan.context)
    drawn = draw_masked(start.lm, state, valid, uniforms.to(start.blank.device), conditional)
    return Filled(drawn.candidate, torch.zeros(start.blank.shape), drawn.rows, [])


def mask_predict_start(start: Start) -> Filled:
    """Fill the target by mask-predict, unless that was done to choose the lengths."""
    return start.filled or mask_predict(start.lm, start.blank, start.plan.context, start.passes)


def mixed_start(start: Start) -> Filled:
    """Begin the first chain of each length with mask-predict's translation, and the others as `masked_start` does."""
    first = start.plan.chains.eq(0)
    filled = Filled(start.blank.clone(), torch.zeros(start.blank.shape), torch.zeros_like(start.plan.context), [])
    for chains, begin in ((first, mask_predict_start), (~first, masked_start)):
        which = chains.nonzero()[:, 0]
        if len(which):
            own = begin(part_of(start, which))
            filled.tokens[which], filled.rows[which] = own.tokens, own.rows
    return filled


def random_start(start: Start) -> Filled:
    """Draw each symbol uniformly from the state space."""
    symbols = start.lm.allowed.nonzero()[:, 0].cpu().numpy()
    tokens = start.blank.clone()
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        tokens[n, :length] = torch.from_numpy(stream.choice(symbols, length)).to(tokens)
    return Filled(tokens, torch.zeros(tokens.shape), tokens.new_zeros(len(tokens)), [])


def reference_start(start: Start) -> Filled:
    """Take the reference; the likeliest symbol replaces each symbol outside the state space."""
    assert start.reference is not None  # the generator refuses this start without one
    tokens = start.reference[start.plan.context, : start.blank.size(1)]
    outside = ~start.lm.allowed[tokens] & tokens.ne(start.lm.pad)
    return mask_predict(start.lm, tokens, start.plan.context, 1, masked=outside)


STARTS: dict[str, Callable[[Start], Filled]] = {
    "warm-start": warm_start,
    "masked": masked_start,
    "mask-predict": mask_predict_start,
    "mixed": mixed_start,
    "random": random_start,
    "reference": reference_start,
}
