"""Selection of each sentence's hypotheses from finished chains, best first."""

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from torch import Tensor

from fairseq_mh.mcmc.energy import Energy
from fairseq_mh.mcmc.record import Run, Snapshot, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.translation.chains.plan import Plan


class Hypothesis(NamedTuple):
    """A state of a chain, with its score.

    Attributes:
        chain: the index of the chain among the N chains of the batch.
        sweep: the sweep in which the chain was in this state; 0 for mask-predict.
        tokens: (T,) long.
        positional: (T,) nats, the log-probability of each token, or minus its share of a one-pass energy.
        score: the score that ranks hypotheses, of the energy that orders them; higher is better.
        energy: nats, the energy of the tokens.
        energies: nats, the unweighted terms of the energy by their names; NaN for a term that was not evaluated.
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
    return [sweep.end for sweep in sweeps[schedule.burn_in :]]


def draws(sweeps: list[Sweep], schedule: Schedule) -> list[Snapshot]:
    """Return every sample except the start, which is not a draw from the target; in a run of 0 sweeps, the start."""
    return [end for end in samples(sweeps, schedule) if end.sweep.all() or not schedule.sweeps]


def lowest_energy(run: Run, schedule: Schedule) -> list[Snapshot]:
    """Return every sample and the states of lowest energy, which their scores rank first."""
    return [run.lowest, *samples(run.sweeps, schedule)]


def last(run: Run, schedule: Schedule) -> list[Snapshot]:
    """Return the last states of the chains, which are draws from the target if the chains are long enough."""
    return [run.sweeps[-1].end]


def token_mean(energy: Tensor, plan: Plan) -> Tensor:
    """Return minus the energy per token (N,), as mask-predict compares lengths."""
    return -energy / plan.lengths.cpu()


def length_model(energy: Tensor, plan: Plan) -> Tensor:
    """Return minus the energy plus the score of the length (N,): the joint score of length and tokens."""
    return -energy + plan.length_scores.cpu()


def hypotheses(
    snapshots: Iterable[Snapshot], plan: Plan, energy: Energy, order: Energy, length_select: str
) -> list[Hypothesis]:
    """Return the states of all chains in these snapshots as hypotheses.

    Args:
        snapshots: states of the N chains.
        plan: the plan of the same chains.
        energy: the energy of the target.
        order: the energy that orders hypotheses, with the same columns.
        length_select: the name in `LENGTH_SELECTIONS` of the function that turns energies into scores.
    """
    found = []
    for snapshot in snapshots:
        total = energy.total(snapshot.scores)
        nats = {name: values.tolist() for name, values in energy.by_name(snapshot.scores).items()}
        scores = LENGTH_SELECTIONS[length_select](order.total(snapshot.scores), plan).tolist()
        positional = snapshot.scores[..., energy.certainty]
        chains = zip(plan.lengths.tolist(), snapshot.sweep.tolist(), scores, total.tolist(), strict=True)
        for n, (length, sweep, score, own) in enumerate(chains):
            tokens, energies = snapshot.tokens[n, :length], {name: values[n] for name, values in nats.items()}
            found.append(Hypothesis(n, sweep, tokens, positional[n, :length], score, own, energies))
    return found


def best_first(found: list[Hypothesis], sentences: int, plan: Plan) -> list[list[Hypothesis]]:
    """Return each sentence's distinct hypotheses, best first.

    Args:
        found: hypotheses of all sentences; the first of several with the same tokens is kept. A state that no sweep
            ended in has no score if a term of weight 0 counts in the order.
        sentences: the number of sentences.
        plan: the plan of the chains.
    """
    by_sentence: list[dict[tuple[int, ...], Hypothesis]] = [{} for _ in range(sentences)]
    context = plan.context.tolist()
    for hypothesis in found:
        distinct, key = by_sentence[context[hypothesis.chain]], tuple(hypothesis.tokens.tolist())
        kept = distinct.setdefault(key, hypothesis)
        if any(map(math.isnan, kept.energies.values())):  # the same state at the end of a sweep has terms of weight 0
            distinct[key] = kept._replace(energies=hypothesis.energies, score=hypothesis.score)
    return [_sorted(distinct.values()) for distinct in by_sentence]


def _sorted(found: Collection[Hypothesis]) -> list[Hypothesis]:
    """Sort hypotheses by score, best first; leave out those without a score if others have one."""
    scored = [one for one in found if not math.isnan(one.score)]
    return sorted(scored, key=lambda one: -one.score) or list(found)


SELECTIONS = {"lowest-energy": lowest_energy, "last": last, "mbr": lowest_energy}
# With "mask-predict", all chains of a sentence have the one length that mask-predict chose before they started.
LENGTH_SELECTIONS = {"token-mean": token_mean, "length-model": length_model, "mask-predict": token_mean}
