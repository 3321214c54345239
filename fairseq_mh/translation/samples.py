"""Draws of a sentence's translations: their frequencies, their energies as arrays, and the check of their chains."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.convergence import Convergence, convergence, to_arviz
from fairseq_mh.errors import refuse
from fairseq_mh.translation.options.config import TranslationMHConfig
from fairseq_mh.translation.results import SentenceResult, Translation


@dataclass(frozen=True)
class Frequency:
    """A translation, and how often it was drawn.

    Attributes:
        text: the text.
        count: the number of draws with this text.
        frequency: the share of draws with this text, an estimate of its probability.
        energy: nats, the energy of its tokens; if several were drawn for the text, the lowest.
    """

    text: str
    count: int
    frequency: float
    energy: float


@dataclass(frozen=True)
class Samples:
    """Draws of the translations of one source sentence, from C chains.

    Attributes:
        source: the text of the source.
        draws: all draws, repeated ones included: the first of each chain, the second of each chain, and so on.
        chains: C.
        rows: decoder rows spent.
        expert_rows: rows of autoregressive models spent.
        untranslated: the reason if there are no draws, and otherwise None.
    """

    source: str
    draws: Sequence[Translation]
    chains: int
    rows: int
    expert_rows: int
    untranslated: str | None

    @cached_property
    def frequencies(self) -> list[Frequency]:
        """The distinct translations, the most frequent one first; of equally frequent ones, that of lowest energy."""
        counts = Counter(draw.text for draw in self.draws)
        lowest = {draw.text: draw.energy for draw in sorted(self.draws, key=lambda draw: -draw.energy)}
        found = (Frequency(text, count, count / len(self.draws), lowest[text]) for text, count in counts.items())
        return sorted(found, key=lambda one: (-one.count, one.energy))

    @cached_property
    def tokens(self) -> Tensor:
        """The draws' tokens: (C, S, T) long, S draws of each chain; draws after the last S * C are left out."""
        none = torch.zeros(0, 0, dtype=torch.long)
        return self._by_chain(torch.stack([draw.tokens for draw in self.draws]) if self.draws else none)

    @cached_property
    def energies(self) -> Tensor:
        """The energies of `tokens`: (C, S) float64, in nats."""
        return self._by_chain(torch.tensor([draw.energy for draw in self.draws], dtype=torch.float64))

    def _by_chain(self, drawn: Tensor) -> Tensor:
        whole = len(drawn) // self.chains
        return drawn[: whole * self.chains].unflatten(0, (whole, self.chains)).transpose(0, 1)

    @cached_property
    def convergence(self) -> Convergence:
        """Whether the chains have converged, by the energies; needs the extra `eval`."""
        return convergence(self)

    def to_arviz(self) -> Any:
        """Return the draws as ArviZ's InferenceData (`fairseq_mh.convergence.to_arviz`); needs the extra `eval`."""
        return to_arviz(self)


def samples_of(result: SentenceResult, draws: int, chains: int, burn_in: int, thin: int) -> Samples:
    """Return the draws of a sentence: every `thin`-th state of its chains after burn-in.

    Args:
        result: the result of the sentence, with the states at the end of every sweep from burn-in on.
        draws: the number of draws.
        chains: C, the number of chains.
        burn_in: the number of first sweeps to discard.
        thin: the number of sweeps from one draw of a chain to its next.
    """
    kept = [one for one in result.samples if one.sweep > burn_in and not (one.sweep - burn_in) % thin]
    return Samples(result.source, kept[:draws], chains, result.rows, result.expert_rows, result.untranslated)


def check_draws(cfg: TranslationMHConfig, lengths: int) -> None:
    """Refuse options with which the states of chains are no draws from one distribution.

    Args:
        cfg: the options.
        lengths: the number of lengths of each sentence.

    Raises:
        UserError: with the first message that applies.
    """
    refuse(
        {
            "samples need Metropolis-Hastings or Gibbs; --mh-decoding mask-predict draws nothing": (
                cfg.mh_decoding == "mask-predict"
            ),
            "samples need one temperature: give --mh-final-temperature the value of --mh-temperature": (
                cfg.mh_temperature != cfg.mh_final_temperature
            ),
            "samples need one length: leave out --iter-decode-with-beam, because chains never change their length": (
                lengths > 1
            ),
        }
    )
