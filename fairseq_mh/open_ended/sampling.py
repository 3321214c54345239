"""Chains over the blanks of texts: from all masks, filled in one by one, to a sample of the energy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.chain import chain_stream, run
from fairseq_mh.mcmc.record import Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.open_ended.blanks import Blanks, TextModel
from fairseq_mh.open_ended.template import Template
from fairseq_mh.sampler_config import SamplerConfig, kernel_of, schedule_of


class Chains(NamedTuple):
    """Finished, N of them."""

    ids: Sequence[int]
    lengths: list[int]  # blanks of each
    sweeps: list[Sweep]  # of N chains each; the start, sweep 0, with the rows that it took
    texts: list[str]  # where each chain ended


@torch.no_grad()
def sample(
    model: TextModel, template: Template, lengths: range, ids: Sequence[int], seed: int, cfg: SamplerConfig
) -> Chains:
    """The chains of these numbers. What a chain draws depends on the seed and its number, not on its batch.

    Args:
        lengths: of the template's open blanks; each chain draws its own (`check_length` says which are too many).
    """
    streams = [chain_stream(seed, chain, 0, 0) for chain in ids]
    blanks = Blanks(model, padded(model, [template.text(model.blank, lengths, stream) for stream in streams]))
    contexts = torch.arange(len(streams), device=blanks.texts.device)
    start, spent = fill(blanks, contexts, streams, cfg)
    kernel = kernel_of(cfg, blanks, metropolis=cfg.mh_decoding == "mh")
    first, *others = run(kernel, start, contexts, streams, schedule_of(cfg)).sweeps
    sweeps = [first._replace(rows=first.rows + spent), *others]
    ends = blanks.filled(sweeps[-1].end.tokens.to(contexts.device), contexts)
    return Chains(ids, blanks.lengths.tolist(), sweeps, [model.decode(end) for end in ends])


def fill(
    blanks: Blanks, contexts: Tensor, streams: Sequence[np.random.Generator], cfg: SamplerConfig
) -> tuple[Tensor, Tensor]:
    """Every proposal is accepted until no mask is left: a sweep of degenerate Gibbs, from masks, in random order.

    Returns:
        states (N, T) long, and decoder rows (N,) that they took.
    """
    kernel = kernel_of(replace(cfg, mh_scan="random", mh_surrogate=None), blanks, metropolis=False)
    _, filled = run(kernel, blanks.masks(), contexts, streams, Schedule(1)).sweeps
    return filled.end.tokens.to(contexts.device), filled.rows


def check_length(model: TextModel, template: Template, longest: int) -> None:
    """Raises UserError where the model cannot read the template with blanks of so many symbols."""
    text = template.text(model.blank, range(longest, longest + 1), np.random.default_rng())
    if len(model.encode(text)) > model.longest:
        raise UserError(f"the model reads {model.longest} symbols at once: shorten the text, or --length")


def padded(model: TextModel, texts: list[str]) -> Tensor:
    """What the model reads: (N, S) long."""
    lines = [model.encode(text) for text in texts]
    rows = [line + [model.pad] * (max(map(len, lines)) - len(line)) for line in lines]
    return torch.tensor(rows, device=model.allowed.device)
