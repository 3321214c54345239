"""All models that score translations, and the energy that they give to targets of a batch of sources."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.energies.experts import ModelEnergy
from fairseq_mh.energies.two_stream import TwoStream
from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM
from fairseq_mh.mcmc.energy import Energy, OnePassEnergy, Term, evaluate, sum_of
from fairseq_mh.mcmc.state import Cost, no_cost
from fairseq_mh.translation.options.energy_sum import TWO_STREAM, Summand

Source = tuple[Tensor, Tensor]  # tokens (B, S) long and lengths (B,) long of B sources


class Bound(NamedTuple):
    """The models of a `Scorer` with a batch of B sources.

    Attributes:
        lm: the CMLM.
        energy: of targets.
        encoder_out: fairseq's output of the CMLM's encoder.
    """

    lm: BoundCMLM
    energy: Energy
    encoder_out: dict


class Evaluated(NamedTuple):
    """The energies of N targets.

    Attributes:
        energy: (N,) float64 nats, infinite for a target that is no state of the model.
        by_name: of each term, (N,) float64 nats, without its weight; NaN for a target that is no state.
        cost: rows, (N,) long each.
    """

    energy: Tensor
    by_name: dict[str, Tensor]
    cost: Cost


class Scorer:
    """The models that score, loaded once.

    Args:
        cmlm: the model of the chains, in eval mode.
        summands: the terms of the energy, as `parse_energy` returns them.
        load: returns the energy of a checkpoint.
        reranker: an autoregressive model that orders hypotheses, if there is one.
    """

    def __init__(
        self,
        cmlm: CMLM,
        summands: Sequence[Summand],
        load: Callable[[str], ModelEnergy],
        reranker: ModelEnergy | None = None,
    ):
        self.cmlm, self.summands, self.reranker = cmlm, list(summands), reranker
        self.models = {one.name: load(one.path) for one in summands if one.path}
        if any(one.name == TWO_STREAM for one in summands) and not cmlm.has_two_streams:
            raise UserError("--mh-energy two-stream needs a plain decoder; this model has another: use norm")
        others = [*self.models.values(), *([reranker] if reranker else [])]
        self.longest_source = min([one.longest_source for one in others], default=math.inf)
        self.longest_target = min([cmlm.longest, *(one.longest_target for one in others)])

    def bind(self, source: Source) -> Bound:
        """Encode sources, and return the models bound to them.

        Raises:
            SentenceError: for a source that is longer than another model reads.
        """
        if int(source[1].max()) > self.longest_source:  # half of a split batch is padded like the whole
            raise SentenceError(f"too long: another model of the energy reads {self.longest_source} symbols")
        encoder_out = self.cmlm.model.forward_encoder(source)
        lm = self.cmlm.bind(encoder_out)
        return Bound(lm, sum_of(self._term(one, lm, encoder_out, source) for one in self.summands), encoder_out)

    def _term(self, one: Summand, lm: BoundCMLM, encoder_out: dict, source: Source) -> Term:
        if model := self.models.get(one.name):
            energy = model.bind(encoder_out, source)
            return Term(one.name, energy, one.weight, bounded=model.bounded, expert=model.autoregressive)
        if one.name == TWO_STREAM:
            return Term(one.name, TwoStream(lm), one.weight, bounded=True)
        return Term(one.name, weight=one.weight)

    def reranking(self, bound: Bound, source: Source) -> OnePassEnergy | None:
        """Return the energy by which hypotheses are ordered, if there is a reranker."""
        return self.reranker.bind(bound.encoder_out, source) if self.reranker else None

    @torch.no_grad()
    def evaluate(self, source: Source, targets: Sequence[Tensor], context: Tensor) -> Evaluated:
        """Evaluate targets that any system made (Salazar et al., 2020; Electric, section 4.4).

        Args:
            source: of B sentences.
            targets: N tensors (T,) long on the CPU, without padding.
            context: (N,) long on the CPU, the index of each target's source in the batch.
        """
        bound = self.bind(source)
        total = torch.full((len(targets),), math.inf, dtype=torch.float64)
        by_name = {name: torch.full_like(total, math.nan) for name in bound.energy.columns}
        cost = no_cost(context)
        states = [n for n, target in enumerate(targets) if self.is_state(target)]
        if states:
            tokens = data_utils.collate_tokens([targets[n] for n in states], self.cmlm.pad).to(source[0].device)
            state, spent = evaluate(bound.lm, bound.energy, tokens, context[states].to(tokens.device))
            scores = state.scores.double()
            total[states] = bound.energy.total(scores).cpu()
            for name, nats in bound.energy.by_name(scores).items():
                by_name[name][states] = nats.cpu()
            for kept, rows in zip(cost, spent, strict=True):
                kept[states] = rows.cpu()
        return Evaluated(total, by_name, cost)

    def is_state(self, tokens: Tensor) -> bool:
        """Return whether tokens (T,) long are a target that chains can reach."""
        allowed = self.cmlm.allowed.cpu()
        inside = len(tokens) and tokens.min() >= 0 and tokens.max() < len(allowed)
        return bool(inside and len(tokens) <= self.longest_target and allowed[tokens.cpu()].all())

    def require_state(self, tokens: Tensor) -> None:
        """Check that tokens (T,) long are a target that chains can reach.

        Raises:
            UserError: for other tokens.
        """
        if not 1 <= len(tokens) <= self.longest_target:
            raise UserError(
                f"the translation has {len(tokens)} tokens; this model's targets have 1 to {self.longest_target}"
            )
        if not self.is_state(tokens):
            raise UserError("the translation holds a token that is no word of the model's")
