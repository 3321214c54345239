"""Where the chains begin: which lengths, and which first state.

A plan lists N = sum over sentences of K lengths x C chains, chains of one length side by side.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError
from fairseq_mh.masked_lms.cmlm import Bound
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.one_pass import OnePassEnergy
from fairseq_mh.mcmc.proposal import draw_masked
from fairseq_mh.mcmc.state import unevaluated
from fairseq_mh.translation.mask_predict import Filled, mask_predict

Progress = Callable[[int, int], object]  # called with the sweeps that ended since the last call, and those of the batch


class Plan(NamedTuple):
    context: Tensor  # (N,) long: the sentence of each chain, counted within the batch
    lengths: Tensor  # (N,) long: tokens of the state
    chains: Tensor  # (N,) long: number of the chain among those of its length
    log_p_length: Tensor  # (N,) nats: log p(length | source)


def plan_chains(log_p: Tensor, chains: int, beam: int, gold: Tensor | None = None) -> Plan:
    """The `beam` likeliest lengths of each sentence, or the given ones, with `chains` chains each.

    Args:
        log_p: (B, L) log-probability of each length; minus infinity at impossible ones.
        gold: (B,) long, the lengths to use instead; they are certain.

    Raises:
        SentenceError: where a sentence has no possible length.
    """
    if gold is None:
        scores, lengths = log_p.topk(min(beam, log_p.size(1)), 1)  # (B, K)
    else:
        scores, lengths = torch.zeros_like(log_p[:, :1]), gold[:, None]
    possible = scores.isfinite()
    if not possible.any(1).all():
        raise SentenceError("the model's scores of a sentence's lengths are no numbers (NaN); with --fp16, try without")
    context = torch.arange(len(log_p), device=log_p.device)[:, None].expand_as(lengths)
    context, lengths, scores = (part[possible].repeat_interleave(chains) for part in (context, lengths, scores))
    number = torch.arange(chains, device=log_p.device).repeat(len(context) // chains)
    return Plan(context, lengths, number, scores)


class Start(NamedTuple):
    """What a start may look at."""

    lm: Bound
    plan: Plan
    blank: Tensor  # (N, T) long: pad behind each chain's end
    passes: int  # of mask-predict
    streams: list[np.random.Generator]
    reference: Tensor | None  # (B, T') long, padded, no BOS or EOS
    electric: OnePassEnergy | None = None  # of the same sentences
    filled: Filled | None = None  # by mask-predict, where that was done to choose the lengths
    spent: Tensor | int = 0  # (N,) long: decoder rows that it took
    progress: Progress | None = None


def at_likeliest_lengths(start: Start) -> Start:
    """Of each sentence's lengths only the one whose mask-predict translation has the highest mean log-probability."""
    plan = start.plan
    first = plan.chains.eq(0).nonzero()[:, 0]  # a chain of each length
    context = plan.context[first]
    filled = mask_predict(start.lm, start.blank[first], context, start.passes)
    mean = (filled.scores.sum(1) / plan.lengths[first]).nan_to_num(nan=-torch.inf)
    best: dict[int, int] = {}  # sentence -> its best length's place in `first`
    for place, sentence in enumerate(context.tolist()):
        best[sentence] = max(best.get(sentence, place), place, key=lambda n: float(mean[n]))
    places = torch.tensor([best[sentence] for sentence in plan.context.tolist()], device=first.device)
    kept = (plan.lengths == plan.lengths[first][places]).nonzero()[:, 0]
    plan, places = Plan(*(part[kept] for part in plan)), places[kept]
    longest = int(plan.lengths.max())
    spent = context.new_zeros(len(best)).index_add(0, context, filled.rows)  # (B,); the first chain's, not each one's
    return start._replace(
        plan=plan,
        blank=start.blank[kept, :longest],
        streams=[start.streams[n] for n in kept.tolist()],
        filled=Filled(filled.tokens[places, :longest], filled.scores[places, :longest], torch.zeros_like(places), []),
        spent=spent[plan.context].where(plan.chains == 0, 0),
    )


def warm_start(start: Start) -> Filled:
    """One greedy fill of the all-masked target (the paper's)."""
    return mask_predict(start.lm, start.blank, start.plan.context, 1)


def masked_start(start: Start) -> Filled:
    """A draw of all positions at once, from the conditionals of the all-masked target (at temperature 1)."""
    valid = start.blank.ne(start.lm.pad)
    uniforms = torch.ones(start.blank.shape, dtype=torch.float64)
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        uniforms[n, :length] = torch.from_numpy(stream.random(length))
    anything = start.blank.masked_fill(valid, int(start.lm.allowed.nonzero()[0]))  # stays where the model is broken
    nothing = unevaluated(start.lm, anything, start.plan.context)
    drawn = draw_masked(start.lm, nothing, valid, uniforms.to(start.blank.device), conditional)
    return Filled(drawn.candidate, torch.zeros(start.blank.shape), drawn.rows, [])


def mask_predict_start(start: Start) -> Filled:
    return start.filled or mask_predict(start.lm, start.blank, start.plan.context, start.passes)


def random_start(start: Start) -> Filled:
    """Symbols drawn uniformly from the state space."""
    symbols = start.lm.allowed.nonzero()[:, 0].cpu().numpy()
    tokens = start.blank.clone()
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        tokens[n, :length] = torch.from_numpy(stream.choice(symbols, length)).to(tokens)
    return Filled(tokens, torch.zeros(tokens.shape), tokens.new_zeros(len(tokens)), [])


def reference_start(start: Start) -> Filled:
    """The reference itself; a symbol outside the state space is replaced by the likeliest one there."""
    assert start.reference is not None  # the generator saw to it
    tokens = start.reference[start.plan.context, : start.blank.size(1)]
    strange = ~start.lm.allowed[tokens] & tokens.ne(start.lm.pad)
    return mask_predict(start.lm, tokens, start.plan.context, 1, masked=strange)


STARTS: dict[str, Callable[[Start], Filled]] = {
    "warm-start": warm_start,
    "masked": masked_start,
    "mask-predict": mask_predict_start,
    "random": random_start,
    "reference": reference_start,
}
