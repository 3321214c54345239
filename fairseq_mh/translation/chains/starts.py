"""The starts of chains: functions that make their first states."""

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
        plan: the plan of the N chains.
        blank: (N, T) long: the held symbols, the mask at free positions, and `pad` after each chain's end.
        held: (N, T) long, as in `State`.
        passes: the number of mask-predict's passes.
        streams: the random stream of each chain.
        reference: (B, T') long, padded, without special tokens; None if the options do not need it.
        energy: the energy of the target.
        order: the energy that orders hypotheses, with the same columns.
        phrase_order: "ordered" or "unordered"; None if there are no phrases.
        filled: mask-predict's result, if it was run to choose the lengths.
        evaluated: whether the energy evaluates mask-predict's translations.
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
    order: Energy
    phrase_order: str | None = None
    filled: Filled | None = None
    evaluated: bool = True
    spent: Tensor | int = 0


def part_of(start: Start, chains: Tensor) -> Start:
    """Return a start of only these chains (M,) long."""
    filled = start.filled
    return start._replace(
        plan=Plan(*(part[chains] for part in start.plan)),
        blank=start.blank[chains],
        held=start.held[chains],
        streams=[start.streams[n] for n in chains.tolist()],
        filled=filled and Filled(filled.tokens[chains], filled.scores[chains], filled.rows[chains], []),
        spent=0,  # the whole batch counts it
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
        blank=start.blank[first][indices, :longest],  # all chains hold the given parts where mask-predict held them
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
    """Return the positions to fill: (N, T) bool."""
    return start.blank.ne(start.lm.pad) & start.held.eq(FREE)


def warm_start(start: Start) -> Filled:
    """Fill the all-masked target greedily in one pass, as the paper does."""
    return mask_predict(start.lm, start.blank, start.plan.context, 1, free(start))


def masked_start(start: Start) -> Filled:
    """Draw all free positions at once, at temperature 1, from their conditionals while all of them are masked."""
    to_draw = free(start)
    draws = np.ones(start.blank.shape)
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        draws[n, :length] = stream.random(length)
    uniforms = torch.from_numpy(draws).to(start.blank.device)
    # The draw keeps these symbols at positions where the model produces NaN, so they must be in the state space.
    tokens = start.blank.masked_fill(to_draw, int(start.lm.allowed.nonzero()[0]))
    state = unevaluated(start.lm, tokens, start.plan.context)
    drawn = draw_masked(start.lm, state, to_draw, uniforms, conditional)
    return Filled(drawn.candidate, torch.zeros_like(uniforms), drawn.rows, [])


def mask_predict_start(start: Start) -> Filled:
    """Fill the target by mask-predict; reuse the result if mask-predict chose the lengths."""
    return start.filled or mask_predict(start.lm, start.blank, start.plan.context, start.passes, free(start))


def mixed_start(start: Start) -> Filled:
    """Start the first chain of each length from mask-predict's translation, and the others by `masked_start`."""
    first = start.plan.chains.eq(0)
    scores = torch.zeros(start.blank.shape, device=start.blank.device)
    filled = Filled(start.blank.clone(), scores, torch.zeros_like(start.plan.context), [])
    for chosen, start_function in ((first, mask_predict_start), (~first, masked_start)):
        chains = chosen.nonzero()[:, 0]
        if len(chains):
            part = start_function(part_of(start, chains))
            filled.tokens[chains], filled.rows[chains] = part.tokens, part.rows
    return filled


def random_start(start: Start) -> Filled:
    """Draw each symbol uniformly from the state space."""
    symbols, drawn = start.lm.allowed.nonzero()[:, 0].cpu().numpy(), start.blank.cpu().numpy().copy()
    for n, (stream, length) in enumerate(zip(start.streams, start.plan.lengths.tolist(), strict=True)):
        drawn[n, :length] = stream.choice(symbols, length)
    tokens = torch.where(start.held.ne(FREE), start.blank, torch.from_numpy(drawn).to(start.blank))
    return Filled(tokens, torch.zeros(tokens.shape, device=tokens.device), tokens.new_zeros(len(tokens)), [])


def reference_start(start: Start) -> Filled:
    """Start from the reference, and replace each symbol outside the state space by the likeliest symbol inside."""
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
