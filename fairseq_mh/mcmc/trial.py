"""A candidate between its proposal and the decision on it, and what came of it."""

from typing import NamedTuple

from torch import Tensor

from fairseq_mh.mcmc.state import State


class Trial(NamedTuple):
    """Candidates of M chains, each between its proposal and the decision on it."""

    state: State  # that the candidate comes from
    candidate: State  # its scores and features are 0 where they are not known yet
    log_rest: Tensor  # (M,) nats: the log ratio but for the candidate's own energy and choice of positions
    log_u: Tensor  # (M,) log of the acceptance's uniform
    temperature: Tensor  # (M,) tau of the target
    order: Tensor  # (M, K) long, of an informed choice
    expected: Tensor  # (M, T) nats: a guess of the shares of the candidate's energy
    passed: Tensor  # (M,) bool: its masked conditionals decide
    open: Tensor  # (M, T) bool: the positions of an undecided candidate that are not evaluated
    asked: Tensor  # (M, T) bool: those of them to evaluate next; a candidate with none can be decided
    rows: Tensor  # (M,) long: decoder rows spent
    skipped: Tensor  # (M,) long: updates before this one, which proposed the state itself


class Info(NamedTuple):
    """What the updates of M chains did; diagnostics read this and nothing else."""

    candidate: Tensor  # (M, T) long
    log_ratio: Tensor  # (M,) nats, or what was known of it when the rejection was certain; NaN rejects
    accepted: Tensor  # (M,) bool, unchanged candidates included
    novel: Tensor  # (M,) bool: accepted, and not the state it came from
    rows: Tensor  # (M,) long: decoder rows spent
    skipped: Tensor  # (M,) long: accepted updates before it, whose candidates were unchanged


class Screened(NamedTuple):
    """What the first stage, of an energy from one pass, leaves to the masked conditionals of M candidates."""

    passed: Tensor  # (M,) bool: the candidates to evaluate: all without a first stage, none where it is the target's
    log_rest: Tensor  # (M,) nats: the log ratio but for the energies; of a candidate that failed, minus infinity or NaN
    shares: Tensor  # (M, T) nats: the first stage's scores of the candidates
    rows: Tensor  # (M,) long: decoder rows spent so far
