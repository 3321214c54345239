"""The results of a sentence (translations, samples, trace, cost), and the events of its decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor

from fairseq_mh.files.trace import trace_records
from fairseq_mh.translation.chains.decoders import ChainSweep, Pass
from fairseq_mh.translation.chains.plan import Plan
from fairseq_mh.translation.ranking.selection import Hypothesis


class SweepRecord:
    """The event that a chain has ended a sweep.

    The state is read from the device when it is asked for, so that events that nobody reads cost nothing.

    Args:
        event: of the decoder.
        numbers: the `id` of each sentence of the batch in the record.

    Attributes:
        sweep: the number of the sweep; 0 is the start.
        total: the number of sweeps that the chains of the batch will run.
    """

    __match_args__ = ("record", "token_log_probs", "total")

    def __init__(self, event: ChainSweep, numbers: Sequence[int]):
        self._event, self._numbers = event, numbers
        self.sweep, self.total = event.ended.number, event.total

    @cached_property
    def _read(self) -> tuple[dict[str, Any], Tensor]:
        event, plan, row = self._event, self._event.plan, self._event.ended.chain
        sweep, length, chain = event.read(), int(plan.lengths[row]), int(plan.chains[row])
        (record,) = trace_records([sweep], event.energy, [self._numbers[int(plan.context[row])]], [length], [chain])
        return record, sweep.end.scores[0, :length, event.energy.certainty]

    @property
    def record(self) -> dict[str, Any]:
        """The record that `--mh-trace` writes."""
        return self._read[0]

    @property
    def token_log_probs(self) -> Tensor:
        """The log-probabilities of the state's tokens, (T,) nats, as in `Translation`."""
        return self._read[1]


class PassRecord(NamedTuple):
    """The event that mask-predict has filled or masked positions of one translation.

    Attributes:
        id, length, chain: the sentence, length and chain of the translation, as in a trace.
        tokens: (T,) long.
        masked: (T,) bool, the positions that are masked.
    """

    id: int
    length: int
    chain: int
    tokens: Tensor
    masked: Tensor


@dataclass(frozen=True)
class Translation:
    """One translation of a sentence.

    Attributes:
        text: the text.
        tokens: (T,) long, without BOS and EOS.
        score: the score that ranks translations; higher is better (docs/options.md).
        energy: nats, the energy of the tokens; NaN if it was not evaluated.
        energies: nats, the unweighted terms of the energy by their names; NaN for a term that was not evaluated.
        token_log_probs: (T,) nats, the log-probability of each token given all others, or minus its share of a one-pass
            energy.
        length: the number of tokens.
        chain: the index of the chain among the chains of its length.
        sweep: the sweep in which the chain was in this state; 0 for mask-predict.
    """

    text: str
    tokens: Tensor
    score: float
    energy: float
    energies: dict[str, float]
    token_log_probs: Tensor
    length: int
    chain: int
    sweep: int


@dataclass(frozen=True)
class SentenceResult:
    """The result of one source sentence.

    Attributes:
        source: the text of the source.
        translations: the translations, best first.
        samples: the state at the end of every sweep from burn-in on, if `samples` was set.
        rows: decoder rows spent.
        expert_rows: rows of autoregressive models spent.
        broken: the number of proposals that were rejected because the model produced NaN.
        untranslated: the reason if there is no translation, and otherwise None.
        symbols: the number of symbols of the source.
        unknown: the number of symbols of the source that are not in the dictionary.
        trace: the records of `--mh-trace`, if `trace` was set.
    """

    source: str
    translations: list[Translation] = field(default_factory=list)
    samples: list[Translation] = field(default_factory=list)
    rows: int = 0
    expert_rows: int = 0
    broken: int = 0
    untranslated: str | None = None
    symbols: int = 0
    unknown: int = 0
    trace: list[dict[str, Any]] = field(default_factory=list)


def translation_of(found: Hypothesis, plan: Plan, text: str) -> Translation:
    """Return a hypothesis and its text as a `Translation`."""
    return Translation(
        text=text,
        tokens=found.tokens,
        score=found.score,
        energy=found.energy,
        energies=found.energies,
        token_log_probs=found.positional,
        length=len(found.tokens),
        chain=int(plan.chains[found.chain]),
        sweep=found.sweep,
    )


def event_records(event: ChainSweep | Pass, numbers: Sequence[int]) -> Iterator[SweepRecord | PassRecord]:
    """Yield the records of an event of a batch.

    Args:
        event: the event.
        numbers: the `id` of each sentence of the batch in the records.
    """
    if isinstance(event, ChainSweep):
        yield SweepRecord(event, numbers)
        return
    states = zip(event.tokens.cpu(), event.masked.cpu(), strict=True)
    for context, length, chain, state in zip(*map(Tensor.tolist, event.plan[:3]), states, strict=True):
        yield PassRecord(numbers[context], length, chain, *(part[:length] for part in state))
