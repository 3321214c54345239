"""The models that score translations, and the energy that they define for targets of a batch of sources."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.energies.experts import ModelEnergy
from fairseq_mh.energies.two_stream import TwoStream
from fairseq_mh.engine.linear import bf16_products
from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.masked_lms.cmlm import CMLM, BoundCMLM
from fairseq_mh.mcmc.energy import Energy, Term, evaluate, sum_of
from fairseq_mh.mcmc.state import Cost, no_cost
from fairseq_mh.translation.options.energy_sum import TWO_STREAM, Summand

Source = tuple[Tensor, Tensor]  # tokens (B, S) long and lengths (B,) long of B sources


class Bound(NamedTuple):
    """The models of a `Scorer`, bound to a batch of B sources.

    Attributes:
        lm: the CMLM.
        energy: the energy of targets.
        order: the energy with the weights that order hypotheses; its columns are the same.
        encoder_out: the output of the CMLM's encoder, in fairseq's format.
    """

    lm: BoundCMLM
    energy: Energy
    order: Energy
    encoder_out: dict


class Evaluated(NamedTuple):
    """The energies of N targets.

    Attributes:
        energy: (N,) float64, nats; infinite for a target that is not a state of the chains.
        by_name: the unweighted terms by their names, (N,) float64, nats; NaN for a target that is not a state.
        cost: the rows of each target, (N,) long each.
    """

    energy: Tensor
    by_name: dict[str, Tensor]
    cost: Cost


class Scorer:
    """The models that score translations; each is loaded once.

    Args:
        cmlm: the model of the chains, in eval mode.
        summands: the terms of the energy, as `parse_energy` returns them.
        load: loads the energy of a checkpoint from its path.
        reranker: an autoregressive model that reranks hypotheses, if there is one.
        in_bf16: whether to score inside `bf16_products`; whoever uses the result of `bind` does so.

    Raises:
        UserError: if two streams cannot be computed for the CMLM and are a term, or a checkpoint cannot be used.
    """

    def __init__(
        self,
        cmlm: CMLM,
        summands: Sequence[Summand],
        load: Callable[[str], ModelEnergy],
        reranker: ModelEnergy | None = None,
        in_bf16: bool = False,
    ):
        self.cmlm, self.summands, self.reranker, self.in_bf16 = cmlm, list(summands), reranker, in_bf16
        self.allowed = cmlm.allowed.cpu()
        self.models = {one.name: load(one.path) for one in summands if one.path}
        if any(one.name == TWO_STREAM for one in summands) and not cmlm.has_two_streams:
            raise UserError("--mh-energy two-stream needs a plain decoder, which this model does not have; use norm")
        others = [*self.models.values(), *([reranker] if reranker else [])]
        self.longest_source = min([one.longest_source for one in others], default=math.inf)
        self.longest_target = min([cmlm.longest, *(one.longest_target for one in others)])

    def bind(self, source: Source) -> Bound:
        """Encode sources, and bind the models to them.

        Raises:
            SentenceError: if a source is longer than a model of the energy can read.
        """
        if int(source[1].max()) > self.longest_source:  # half of a split batch is padded like the whole
            raise SentenceError(f"too long: another model of the energy reads at most {self.longest_source} symbols")
        encoder_out = self.cmlm.model.forward_encoder(source)
        lm = self.cmlm.bind(encoder_out)
        energy = sum_of(self._term(one, lm, encoder_out, source) for one in self.summands)
        weights = {one.name: one.order_weight for one in self.summands}
        order = Energy(tuple(replace(term, weight=weights.get(term.name, 0.0)) for term in energy.terms))
        return Bound(lm, energy, order, encoder_out)

    def _term(self, one: Summand, lm: BoundCMLM, encoder_out: dict, source: Source) -> Term:
        if model := self.models.get(one.name):
            energy = model.bind(encoder_out, source)
            return Term(one.name, energy, one.weight, bounded=model.bounded, expert=model.autoregressive)
        if one.name == TWO_STREAM:
            return Term(one.name, TwoStream(lm), one.weight, bounded=True)
        return Term(one.name, weight=one.weight)

    @torch.no_grad()
    def evaluate(self, source: Source, targets: Sequence[Tensor], context: Tensor) -> Evaluated:
        """Evaluate the energies of given targets, of any system (Salazar et al., 2020; Electric, section 4.4).

        Args:
            source: the sources of B sentences.
            targets: N tensors (T,) long on the CPU, without padding.
            context: (N,) long on the CPU, the index of each target's source in the batch.

        Raises:
            SentenceError: as in `bind`.
        """
        with bf16_products(self.in_bf16):
            bound = self.bind(source)
        total = torch.full((len(targets),), math.inf, dtype=torch.float64)
        by_name = {name: torch.full_like(total, math.nan) for name in bound.energy.columns}
        cost = no_cost(context)
        states = [n for n, target in enumerate(targets) if self.is_state(target)]
        if states:
            tokens = data_utils.collate_tokens([targets[n] for n in states], self.cmlm.pad).to(source[0].device)
            with bf16_products(self.in_bf16):
                state, spent = evaluate(bound.lm, bound.energy, tokens, context[states].to(tokens.device))
            scores = state.scores.double()
            total[states] = bound.energy.total(scores).cpu()
            for name, nats in bound.energy.by_name(scores).items():
                by_name[name][states] = nats.cpu()
            for kept, rows in zip(cost, spent, strict=True):
                kept[states] = rows.cpu()
        return Evaluated(total, by_name, cost)

    def is_state(self, tokens: Tensor) -> bool:
        """Tell whether tokens (T,) long are a target that chains can reach."""
        inside = len(tokens) and tokens.min() >= 0 and tokens.max() < len(self.allowed)
        return bool(inside and len(tokens) <= self.longest_target and self.allowed[tokens.cpu()].all())

    def require_state(self, tokens: Tensor) -> None:
        """Check that tokens (T,) long are a target that chains can reach.

        Raises:
            UserError: if they are not.
        """
        if not 1 <= len(tokens) <= self.longest_target:
            raise UserError(
                f"the translation has {len(tokens)} tokens; this model's targets have 1 to {self.longest_target}"
            )
        if not self.is_state(tokens):
            raise UserError("the translation has a token that the model does not generate; replace that token")
