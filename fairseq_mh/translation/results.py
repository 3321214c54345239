"""Results of a sentence: its translations, its samples, its trace, and their cost; and events of its decoding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_mh.files.trace import trace_records
from fairseq_mh.translation.chains.decoders import ChainSweep, Decoded, Pass
from fairseq_mh.translation.chains.plan import Plan
from fairseq_mh.translation.ranking.selection import Hypothesis


class SweepRecord(NamedTuple):
    """A sweep that a chain has ended.

    Attributes:
        record: of the trace (`--mh-trace`).
        token_log_probs: (T,) nats of its state, as in `Translation`.
        total: the number of sweeps that the chains of the batch will run.
    """

    record: dict[str, Any]
    token_log_probs: Tensor
    total: int


class PassRecord(NamedTuple):
    """A filling or a masking of mask-predict, of one translation.

    Attributes:
        id, length, chain: of the translation, as in a trace.
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
        text: the words.
        tokens: (T,) long, without BOS and EOS.
        score: hypotheses are ranked by it; higher is better (docs/options.md).
        energy: nats, of the target; NaN if it was not evaluated.
        energies: nats, of each term of the energy by its name, without its weight; NaN if it was not evaluated.
        token_log_probs: (T,) nats, of each token given all others, or minus its share of an energy from one pass.
        length: the number of tokens.
        chain: the number of the chain among those of its length.
        sweep: at the end of which the chain was in this state; 0 for mask-predict.
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
        source: its text.
        translations: best first.
        samples: the state at the end of every sweep from burn-in on, if asked for.
        rows: decoder rows spent.
        expert_rows: rows of autoregressive models.
        broken: proposals that were rejected because the model produced NaN.
        untranslated: the reason if there is no translation, and otherwise None.
        symbols: the number of symbols of the source.
        unknown: how many of them the dictionary does not have.
        trace: the records of `--mh-trace`, if asked for.
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


class SentenceCost(NamedTuple):
    """The rows that a sentence took, as in `Cost`."""

    rows: int
    expert_rows: int


class BatchResults:
    """Reads the results of single sentences out of a decoded batch.

    Args:
        decoded: the batch.
        text: from a hypothesis's tokens to words.
    """

    def __init__(self, decoded: Decoded, text: Callable[[Tensor], str]):
        self.decoded, self.text = decoded, text
        self.plan = Plan(*(part.cpu() for part in decoded.plan))

    def cost(self, sentence: int) -> "SentenceCost":
        """Return the cost of a sentence."""
        mine = self.plan.context == sentence
        return SentenceCost(*(int(rows[mine].sum()) for rows in self.decoded.cost))

    def broken(self, sentence: int) -> int:
        """Return how many of a sentence's proposals were rejected because the model produced NaN."""
        mine = self.plan.context == sentence
        return sum(int(sweep.broken[mine].sum()) for sweep in self.decoded.sweeps)

    def translation(self, found: Hypothesis) -> Translation:
        """Return a hypothesis with its text."""
        return Translation(
            text=self.text(found.tokens),
            tokens=found.tokens,
            score=found.score,
            energy=found.energy,
            energies=found.energies,
            token_log_probs=found.positional,
            length=len(found.tokens),
            chain=int(self.plan.chains[found.chain]),
            sweep=found.sweep,
        )

    def trace(self, sentence: int, number: int) -> list[dict[str, Any]]:
        """Return the records of a sentence's chains, with this number as the sentence's `id`."""
        mine = (self.plan.context == sentence).nonzero()[:, 0]
        sweeps = [_of_chains(sweep, mine) for sweep in self.decoded.sweeps]
        lengths, chains = self.plan.lengths[mine].tolist(), self.plan.chains[mine].tolist()
        return list(trace_records(sweeps, self.decoded.energy, [number] * len(mine), lengths, chains))


def event_records(event: ChainSweep | Pass, numbers: Sequence[int]) -> Iterator[SweepRecord | PassRecord]:
    """Yield an event of a batch, whose sentences have these numbers, as records."""
    plan = event.plan
    if isinstance(event, ChainSweep):
        chain, sweep = event.ended.chain, event.read()
        length, own = int(plan.lengths[chain]), int(plan.chains[chain])
        (record,) = trace_records([sweep], event.energy, [numbers[int(plan.context[chain])]], [length], [own])
        yield SweepRecord(record, sweep.end.scores[0, :length, event.energy.certainty], event.total)
        return
    for context, length, chain, *state in zip(*map(Tensor.tolist, plan[:3]), event.tokens, event.masked, strict=True):
        yield PassRecord(numbers[context], length, chain, *(part[:length].cpu() for part in state))


def _of_chains(sweep: Any, chains: Tensor) -> Any:
    """Return the part of a sweep that belongs to these chains (M,) long."""
    parts = {name: value for name, value in sweep._asdict().items() if name != "temperature"}
    return sweep._replace(
        **{
            name: value[chains] if isinstance(value, torch.Tensor) else type(value)(*(part[chains] for part in value))
            for name, value in parts.items()
        }
    )
