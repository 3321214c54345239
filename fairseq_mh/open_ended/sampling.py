"""Runs chains over the blanks of texts; the masks are filled one by one to get the first state of each chain."""

from collections.abc import Generator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.chain import EndedSweep, chain_stream, run
from fairseq_mh.mcmc.conditional import Conditional, conditional
from fairseq_mh.mcmc.energy import Energy, as_energy
from fairseq_mh.mcmc.moves.masked import draw_masked
from fairseq_mh.mcmc.record import Sweep
from fairseq_mh.mcmc.state import unevaluated
from fairseq_mh.open_ended.blanks import Blanks, TextModel, surroundings
from fairseq_mh.sampler_config import SamplerConfig, kernel_of, schedule_of
from fairseq_mh.template import with_masks


class Chains(NamedTuple):
    """N finished chains."""

    ids: Sequence[int]
    lengths: list[int]  # number of symbols in the states of each chain
    sweeps: list[Sweep]  # each of N chains; the rows of sweep 0, the start, include those of filling the blanks
    texts: list[str]  # the last state of each chain


@torch.no_grad()
def sample(
    model: TextModel,
    template: str,
    lengths: range,
    ids: Sequence[int],
    seed: int,
    cfg: SamplerConfig,
) -> Generator[EndedSweep, None, Chains]:
    """Run chains. What a chain draws depends on the seed and the chain's number, not on its batch.

    Args:
        model: the masked language model of text.
        template: the text with its blanks.
        lengths: the possible numbers of symbols of an open blank, which each chain draws (see `check_text`).
        ids: the numbers of the chains.
        seed: of all randomness, with the chain's number.
        cfg: the sampler's options.
    """
    streams = [chain_stream(seed, chain, 0, 0) for chain in ids]
    blanks = Blanks(model, padded(model, [with_masks(template, model.blank, lengths, stream) for stream in streams]))
    contexts = torch.arange(len(streams), device=blanks.texts.device)
    log_q = partial(conditional, temperature=cfg.mh_proposal_temperature, nucleus=cfg.mh_nucleus)
    start, spent = fill(blanks, streams, log_q)
    kernel = kernel_of(cfg, blanks, cfg.mh_decoding == "mh", text_energy(cfg))
    given = blanks.states().ne(model.mask)
    finished = yield from run(kernel, start, contexts, streams, schedule_of(cfg), given)
    first, *others = finished.sweeps
    sweeps = [first._replace(cost=first.cost.plus(spent)), *others]
    ends = blanks.filled(sweeps[-1].end.tokens.to(contexts.device), contexts)
    return Chains(ids, blanks.lengths.tolist(), sweeps, [model.decode(end) for end in ends])


def text_energy(cfg: SamplerConfig) -> Energy:
    """Return the energy of the options."""
    return as_energy(str(cfg.mh_energy))


def fill(blanks: Blanks, streams: Sequence[np.random.Generator], log_q: Conditional) -> tuple[Tensor, Tensor]:
    """Fill the masks one by one in random order; each symbol is drawn given the symbols that are already filled.

    Args:
        blanks: N texts with their blanks.
        streams: one random generator for each text.
        log_q: the conditional of the proposal.

    Returns:
        The filled states (N, T) long, and the number of decoder rows (N,) long for each.
    """
    tokens, contexts = blanks.states(), torch.arange(len(streams), device=blanks.texts.device)
    turn, uniforms = np.full(tokens.shape, -1), np.zeros(tokens.shape)
    for n, (stream, masks) in enumerate(zip(streams, tokens.eq(blanks.model.mask).cpu().numpy(), strict=True)):
        count = int(masks.sum())
        turn[n, masks], uniforms[n, :count] = stream.permutation(count), stream.random(count)
    turns, draws, rows = torch.from_numpy(turn).to(tokens), torch.from_numpy(uniforms).to(tokens.device), 0 * contexts
    for now in range(tokens.size(1)):
        masked = unevaluated(blanks, tokens, contexts)
        drawn = draw_masked(blanks, masked, turns == now, draws[:, now : now + 1], log_q)
        tokens, rows = drawn.candidate, rows + drawn.rows
    anything = int(blanks.allowed.nonzero()[0])  # for masks that stay because the model produced NaN
    return tokens.masked_fill(tokens == blanks.model.mask, anything), rows.cpu()


def check_text(model: TextModel, template: str, longest: int) -> None:
    """Check that the model can read a template whose open blanks have `longest` symbols.

    Raises:
        UserError: if the text is too long, or has symbols that the model does not know.
    """
    stream = np.random.default_rng()
    text = model.encode(with_masks(template, model.blank, range(longest, longest + 1), stream))
    if len(text) > model.longest:
        raise UserError(f"the model reads {model.longest} symbols at once: shorten the text, or reduce --length")
    before, after = surroundings(model)
    given = torch.tensor(text[len(before) : len(text) - len(after)])
    strange = given[~model.allowed.cpu()[given] & (given != model.mask)]
    if len(strange):
        raise UserError(f"the model has no symbols for parts of the text: it reads {model.decode(given)!r}")


def padded(model: TextModel, texts: list[str]) -> Tensor:
    """Return the model's input for N texts, padded: (N, S) long."""
    lines = [model.encode(text) for text in texts]
    rows = [line + [model.pad] * (max(map(len, lines)) - len(line)) for line in lines]
    return torch.tensor(rows, device=model.allowed.device)
