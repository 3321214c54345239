"""From finished chains to each sentence's hypotheses, best first."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from fairseq_mh.mcmc.energy import COLUMNS, certainty, site_scores, total
from fairseq_mh.mcmc.record import Run, Snapshot, Sweep
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.translation.start import Plan


class Hypothesis(NamedTuple):
    chain: int  # index among the N chains of the batch
    sweep: int  # at which the chain was there
    tokens: Tensor  # (T,) long: of a state
    positional: Tensor  # (T,) nats: log-probability of each token, or minus its share of an energy from one pass
    score: float  # higher is better
    energies: dict[str, float]  # nats, by the name of `COLUMNS`; NaN where not evaluated


def samples(sweeps: list[Sweep], schedule: Schedule) -> list[Snapshot]:
    """The state at the end of every sweep that counts."""
    return [sweep.end for number, sweep in enumerate(sweeps) if schedule.is_sample(number)]


def draws(sweeps: list[Sweep], schedule: Schedule) -> list[Snapshot]:
    """Every sample but the start, which is no draw from the target; the start where there is nothing else."""
    return [end for end in samples(sweeps, schedule) if end.sweep.all() or not schedule.sweeps]


def visited(run: Run, schedule: Schedule) -> list[Snapshot]:
    """A draw as often as a chain was there."""
    return draws(run.sweeps, schedule)


def lowest_energy(run: Run, schedule: Schedule) -> list[Snapshot]:
    """Every sample, and the state of lowest energy: the score then puts the lowest first."""
    return [run.lowest, *samples(run.sweeps, schedule)]


def last(run: Run, schedule: Schedule) -> list[Snapshot]:
    """Where each chain ended: a draw from the target, if the chain is long enough."""
    return [run.sweeps[-1].end]


def token_mean(energy: Tensor, plan: Plan) -> Tensor:
    """Minus the energy per token, so that lengths compare as mask-predict compares them."""
    return -energy / plan.lengths.cpu()


def length_model(energy: Tensor, plan: Plan) -> Tensor:
    """Minus the energy plus log p(length | source): the joint score of length and tokens."""
    return -energy + plan.log_p_length.cpu()


def hypotheses(snapshots: Iterable[Snapshot], plan: Plan, energy: str, length_select: str) -> list[Hypothesis]:
    """The states of all chains in these snapshots, scored by an energy of that name."""
    found = []
    for snapshot in snapshots:
        nats = {name: total(snapshot.scores, name) for name in COLUMNS}
        scores = LENGTH_SELECTIONS[length_select](nats[energy], plan).tolist()
        positional = site_scores(snapshot.scores, certainty(energy))
        for n, (length, score) in enumerate(zip(plan.lengths.tolist(), scores, strict=True)):
            tokens, energies = snapshot.tokens[n, :length], {name: float(nats[name][n]) for name in COLUMNS}
            found.append(Hypothesis(n, int(snapshot.sweep[n]), tokens, positional[n, :length], score, energies))
    return found


def best_first(found: list[Hypothesis], sentences: int, plan: Plan) -> list[list[Hypothesis]]:
    """Each sentence's distinct candidates, best first; of equal ones the earliest found."""
    by_sentence: list[dict[tuple[int, ...], Hypothesis]] = [{} for _ in range(sentences)]
    context = plan.context.tolist()
    for one in found:
        by_sentence[context[one.chain]].setdefault(tuple(one.tokens.tolist()), one)
    return [sorted(distinct.values(), key=_worse) for distinct in by_sentence]


def _worse(hypothesis: Hypothesis) -> tuple[bool, float]:
    return math.isnan(hypothesis.score), -hypothesis.score


SELECTIONS = {"lowest-energy": lowest_energy, "last": last, "mbr": visited}
# With "mask-predict" a sentence's chains have one length, which mask-predict chose before they began.
LENGTH_SELECTIONS = {"token-mean": token_mean, "length-model": length_model, "mask-predict": token_mean}
