"""What is found of a sentence: its translations, the samples, the trace, and what they cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.files.trace import trace_records
from fairseq_mh.mcmc.record import Sweep
from fairseq_mh.mcmc.target import Energy
from fairseq_mh.translation.chains.decoders import Decoded
from fairseq_mh.translation.chains.plan import Plan
from fairseq_mh.translation.chains.starts import Observer, PassObserver
from fairseq_mh.translation.ranking.selection import Hypothesis

# Called at the end of each sweep of each chain, with its record of `--mh-trace` and its `token_log_probs` (T,).
RecordObserver = Callable[[dict[str, Any], Tensor], object]

# Called after each filling and each masking of mask-predict, with where it is (`id`, `length` and `chain`, as in a
# record), its tokens (T,) long, and what is masked in them (T,) bool.
FillObserver = Callable[[dict[str, int], Tensor, Tensor], object]


@dataclass(frozen=True)
class Translation:
    """One translation of a sentence."""

    text: str
    tokens: Tensor  # (T,) long, without BOS and EOS
    score: float  # nats; hypotheses are ranked by it, higher is better
    energy: float  # nats: the target's; NaN where it was not evaluated
    energies: dict[str, float]  # nats, by the name of the term, without its weight; NaN where not evaluated
    token_log_probs: Tensor  # (T,) nats: each token given all others, or minus its share of an energy from one pass
    length: int  # tokens
    chain: int  # the number of the chain among those of its length
    sweep: int  # at whose end the chain was there


@dataclass(frozen=True)
class SentenceResult:
    """What was found of one source sentence."""

    source: str
    translations: list[Translation] = field(default_factory=list)  # best first
    samples: list[Translation] = field(default_factory=list)  # the state at the end of every sweep that counts
    rows: int = 0  # decoder rows spent
    expert_rows: int = 0  # rows of autoregressive experts
    broken: int = 0  # proposals rejected because the model's numbers were no numbers
    untranslated: str | None = None  # why there is no translation
    symbols: int = 0  # of the source
    unknown: int = 0  # of them, those that the dictionary does not know
    trace: list[dict[str, Any]] = field(default_factory=list)  # the records of `--mh-trace`, where asked for


class BatchResults:
    """Reads the results of single sentences out of a decoded batch.

    Args:
        decoded: the batch.
        text: from a hypothesis's tokens to words.
    """

    def __init__(self, decoded: Decoded, text: Callable[[Tensor], str]):
        self.decoded, self.text = decoded, text
        self.plan = Plan(*(part.cpu() for part in decoded.plan))

    def rows(self, sentence: int) -> int:
        """Return the decoder rows that a sentence took."""
        return int(self.decoded.rows[self.plan.context == sentence].sum())

    def expert_rows(self, sentence: int) -> int:
        """Return the rows of autoregressive experts that a sentence took."""
        return int(self.decoded.expert_rows[self.plan.context == sentence].sum())

    def broken(self, sentence: int) -> int:
        """Return how many of a sentence's proposals were rejected because the model's numbers were no numbers."""
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
        """Return the records of a sentence's chains, the sentence having this number in them."""
        mine = (self.plan.context == sentence).nonzero()[:, 0]
        sweeps = [_of_chains(sweep, mine) for sweep in self.decoded.sweeps]
        lengths, chains = self.plan.lengths[mine].tolist(), self.plan.chains[mine].tolist()
        return list(trace_records(sweeps, self.decoded.energy, [number] * len(mine), lengths, chains))


def records_to(observer: RecordObserver, numbers: Sequence[int]) -> Observer:
    """Return what shows the records of a batch's chains to an observer, its sentences having these numbers."""

    def show(plan: Plan, chain: int, sweep: Sweep, energy: Energy) -> None:
        length, own = int(plan.lengths[chain]), int(plan.chains[chain])
        (record,) = trace_records([sweep], energy, [numbers[int(plan.context[chain])]], [length], [own])
        observer(record, sweep.end.scores[0, :length, energy.certainty])

    return show


def fillings_to(observer: FillObserver, numbers: Sequence[int]) -> PassObserver:
    """Return what shows mask-predict's passes over a batch to an observer, its sentences having these numbers."""

    def show(plan: Plan, tokens: Tensor, masked: Tensor) -> None:
        for context, length, chain, *state in zip(*map(Tensor.tolist, plan[:3]), tokens, masked, strict=True):
            own, blanks = (part[:length].cpu() for part in state)
            observer({"id": numbers[context], "length": length, "chain": chain}, own, blanks)

    return show


def _of_chains(sweep: Any, chains: Tensor) -> Any:
    """Return the part of a sweep that is about these chains (M,) long."""
    end = type(sweep.end)(*(part[chains] for part in sweep.end))
    counts = {name: value[chains] for name, value in sweep._asdict().items() if isinstance(value, torch.Tensor)}
    return sweep._replace(end=end, **counts)
