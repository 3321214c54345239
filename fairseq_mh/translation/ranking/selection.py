"""The selection of each sentence's hypotheses from finished chains, best first."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.record import Run, Snapshot, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.translation.chains.plan import Plan


class Hypothesis(NamedTuple):
    """A state of a chain, with its score.

    Attributes:
        chain: its index among the N chains of the batch.
        sweep: in which the chain was in this state; 0 for mask-predict.
        tokens: (T,) long.
        positional: (T,) nats, the log-probability of each token, or minus its share of an energy from one pass.
        score: ranks hypotheses; higher is better.
        energy: nats, of the target.
        energies: nats, of each term of the energy, without its weight; NaN where a term was not evaluated.
        passes: the number of mask-predict's passes; 0 for states of chains.
    """

    chain: int
    sweep: int
    tokens: Tensor
    positional: Tensor
    score: float
    energy: float
    energies: dict[str, float]
    passes: int = 0


def samples(sweeps: list[Sweep], schedule: Schedule) -> list[Snapshot]:
    """Return the states at the end of every sweep that the schedule counts as a sample."""
    return [sweep.end for number, sweep in enumerate(sweeps) if schedule.is_sample(number)]


def draws(sweeps: list[Sweep], schedule: Schedule) -> list[Snapshot]:
    """Return every sample but the start, which is no draw from the target; in a run of no sweeps, the start."""
    return [end for end in samples(sweeps, schedule) if end.sweep.all() or not schedule.sweeps]


def lowest_energy(run: Run, schedule: Schedule) -> list[Snapshot]:
    """Return every sample and the states of lowest energy; their scores put the lowest first."""
    return [run.lowest, *samples(run.sweeps, schedule)]


def last(run: Run, schedule: Schedule) -> list[Snapshot]:
    """Return the states in which the chains ended: draws from the target, if the chains are long enough."""
    return [run.sweeps[-1].end]


def token_mean(energy: Tensor, plan: Plan) -> Tensor:
    """Return minus the energy per token (N,), by which mask-predict, too, compares lengths."""
    return -energy / plan.lengths.cpu()


def length_model(energy: Tensor, plan: Plan) -> Tensor:
    """Return minus the energy plus the score of the length (N,): the joint score of length and tokens."""
    return -energy + plan.length_scores.cpu()


def hypotheses(snapshots: Iterable[Snapshot], plan: Plan, energy: Energy, length_select: str) -> list[Hypothesis]:
    """Return the states of all chains in these snapshots as hypotheses.

    Args:
        snapshots: of the N chains.
        plan: of the same chains.
        energy: the target's.
        length_select: a name of `LENGTH_SELECTIONS`, which makes scores of energies.
    """
    found = []
    for snapshot in snapshots:
        total, nats = energy.total(snapshot.scores), energy.by_name(snapshot.scores)
        scores = LENGTH_SELECTIONS[length_select](total, plan).tolist()
        positional = snapshot.scores[..., energy.certainty]
        for n, (length, score) in enumerate(zip(plan.lengths.tolist(), scores, strict=True)):
            tokens, energies = snapshot.tokens[n, :length], {name: float(of[n]) for name, of in nats.items()}
            sweep, own = int(snapshot.sweep[n]), positional[n, :length]
            found.append(Hypothesis(n, sweep, tokens, own, score, float(total[n]), energies))
    return found


def best_first(found: list[Hypothesis], sentences: int, plan: Plan) -> list[list[Hypothesis]]:
    """Return each sentence's distinct hypotheses, best first; the first one found stands for equal ones."""
    by_sentence: list[dict[tuple[int, ...], Hypothesis]] = [{} for _ in range(sentences)]
    context = plan.context.tolist()
    for hypothesis in found:
        by_sentence[context[hypothesis.chain]].setdefault(tuple(hypothesis.tokens.tolist()), hypothesis)
    return [sorted(distinct.values(), key=_sort_key) for distinct in by_sentence]


def _sort_key(hypothesis: Hypothesis) -> tuple[bool, float]:
    """Sort by falling score, and broken scores (NaN) last."""
    return math.isnan(hypothesis.score), -hypothesis.score


SELECTIONS = {"lowest-energy": lowest_energy, "last": last, "mbr": lowest_energy}
# With "mask-predict" all chains of a sentence have one length, which mask-predict chose before they started.
LENGTH_SELECTIONS = {"token-mean": token_mean, "length-model": length_model, "mask-predict": token_mean}
