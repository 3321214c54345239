"""Where chains begin: their first states."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.masked_lms.cmlm import BoundCMLM
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.moves.masked import draw_masked
from fairseq_mh.mcmc.state import FREE, unevaluated
from fairseq_mh.translation.chains.mask_predict import Filled, mask_predict
from fairseq_mh.translation.chains.plan import Plan


class Start(NamedTuple):
    """A batch before its chains start; the functions of STARTS read it.

    Attributes:
        lm: the CMLM with the batch's sources.
        plan: of the N chains.
        blank: (N, T) long: the held symbols, the mask at free positions, and `pad` after each chain's end.
        held: (N, T) long, as in `State`.
        passes: the number of mask-predict's passes.
        streams: the random stream of each chain.
        reference: (B, T') long, padded, without special tokens; None where nothing reads it.
        energy: of the target.
        phrase_order: how phrases move: ordered or unordered; None where there are none.
        filled: mask-predict's result, if it was run to choose the lengths.
        evaluated: whether mask-predict's translations are evaluated by the energy.
        spent: (N,) long, decoder rows spent so far.
    """

    lm: BoundCMLM
    plan: Plan
    blank: Tensor
    held: Tensor
    passes: int
    streams: list[np.random.Generator]
    reference: Tensor | None
    energy: Energy
    phrase_order: str | None = None
    filled: Filled | None = None
    evaluated: bool = True
    spent: Tensor | int = 0


def part_of(start: Start, chains: Tensor) -> Start:
    """Return the start of these chains (M,) long alone."""
    filled = start.filled
    return start._replace(
        plan=Plan(*(part[chains] for part in start.plan)),
        blank=start.blank[chains],
        held=start.held[chains],
        streams=[start.streams[n] for n in chains.tolist()],
        filled=filled and Filled(filled.tokens[chains], filled.scores[chains], filled.rows[chains], []),
        spent=0,  # which is counted in the whole
    )


def at_likeliest_lengths(start: Start) -> Start:
    """Keep the length of each sentence whose mask-predict translation has the highest mean log-probability."""
    plan = start.plan
    first = plan.chains.eq(0).nonzero()[:, 0]  # the first chain of each length
    context = plan.context[first]
    filled = mask_predict_start(part_of(start, first))
    mean = (filled.scores.sum(1) / plan.lengths[first]).nan_to_num(nan=-torch.inf).tolist()
    best: dict[int, int] = {}  # sentence -> the index in `first` of its best length
    for index, sentence in enumerate(context.tolist()):
        best[sentence] = max(best.get(sentence, index), index, key=lambda n: mean[n])
    indices = torch.tensor([best[sentence] for sentence in plan.context.tolist()], device=first.device)  # (N,)
    kept = (plan.lengths == plan.lengths[first][indices]).nonzero()[:, 0]
    plan, indices = Plan(*(part[kept] for part in plan)), indices[kept]
    longest = int(plan.lengths.max())
    spent = context.new_zeros(len(best)).index_add(0, context, filled.rows)  # (B,), counted in the first chain
    spent.index_add_(0, start.plan.context, torch.zeros_like(start.plan.context) + start.spent)
    return start._replace(
        plan=plan,
        blank=start.blank[first][indices, :longest],  # what is given lies where it lay for mask-predict
        held=start.held[first][indices, :longest],
        streams=[start.streams[n] for n in kept.tolist()],
        filled=Filled(
            tokens=filled.tokens[indices, :longest],
            scores=filled.scores[indices, :longest],
            rows=torch.zeros_like(indices),
            history=[],
        ),
        spent=spent[plan.context].where(plan.chains == 0, 0),
    )


def free(start: Start) -> Tensor:
    """Return the positions that are to be filled: (N, T) bool."""
    return start.blank.ne(start.lm.pad) & start.held.eq(FREE)


def warm_start(start: Start) -> Filled:
    """Fill the all-masked target greedily in one pass, as the paper does."""
    return mask_predict(start.lm, start.blank, start.plan.context, 1, free(start))


def masked_start(start: Start) -> Filled:
    """Draw all free positions at once from the conditionals of the target with masks there, at temperature 1."""
    to_draw = free(start)
    draws = np.ones(start.blank.shape)
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        draws[n, :length] = stream.random(length)
    uniforms = torch.from_numpy(draws).to(start.blank.device)
    # The symbols that are masked here are kept where the model's numbers are broken, so they must be states.
    tokens = start.blank.masked_fill(to_draw, int(start.lm.allowed.nonzero()[0]))
    state = unevaluated(start.lm, tokens, start.plan.context)
    drawn = draw_masked(start.lm, state, to_draw, uniforms, conditional)
    return Filled(drawn.candidate, torch.zeros_like(uniforms), drawn.rows, [])


def mask_predict_start(start: Start) -> Filled:
    """Fill the target by mask-predict, unless that was done to choose the lengths."""
    return start.filled or mask_predict(start.lm, start.blank, start.plan.context, start.passes, free(start))


def mixed_start(start: Start) -> Filled:
    """Begin the first chain of each length with mask-predict's translation, and the others as `masked_start` does."""
    first = start.plan.chains.eq(0)
    scores = torch.zeros(start.blank.shape, device=start.blank.device)
    filled = Filled(start.blank.clone(), scores, torch.zeros_like(start.plan.context), [])
    for chains, begin in ((first, mask_predict_start), (~first, masked_start)):
        which = chains.nonzero()[:, 0]
        if len(which):
            own = begin(part_of(start, which))
            filled.tokens[which], filled.rows[which] = own.tokens, own.rows
    return filled


def random_start(start: Start) -> Filled:
    """Draw each symbol uniformly from the state space."""
    symbols, drawn = start.lm.allowed.nonzero()[:, 0].cpu().numpy(), start.blank.cpu().numpy().copy()
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        drawn[n, :length] = stream.choice(symbols, length)
    tokens = torch.where(start.held.ne(FREE), start.blank, torch.from_numpy(drawn).to(start.blank))
    return Filled(tokens, torch.zeros(tokens.shape, device=tokens.device), tokens.new_zeros(len(tokens)), [])


def reference_start(start: Start) -> Filled:
    """Take the reference; the likeliest symbol replaces each symbol outside the state space."""
    assert start.reference is not None  # the generator refuses this start without one
    tokens = start.reference[start.plan.context, : start.blank.size(1)]
    tokens = torch.where(start.held.ne(FREE), start.blank, tokens)
    outside = ~start.lm.allowed[tokens] & free(start)
    return mask_predict(start.lm, tokens, start.plan.context, 1, masked=outside)


STARTS: dict[str, Callable[[Start], Filled]] = {
    "warm-start": warm_start,
    "masked": masked_start,
    "mask-predict": mask_predict_start,
    "mixed": mixed_start,
    "random": random_start,
    "reference": reference_start,
}
