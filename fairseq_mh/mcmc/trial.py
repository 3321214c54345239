"""A candidate between its proposal and the decision on it, and what came of it."""

from typing import NamedTuple

from torch import Tensor

from fairseq_mh.mcmc.state import State


class Trial(NamedTuple):
    """Candidates of M chains, each between its proposal and the decision on it."""

    state: State  # that the candidate comes from
    candidate: State  # its scores and features are 0 where they are not known yet
    log_rest: Tensor  # (M,) nats: the log ratio but for the two energies and the candidate's choice of positions
    log_u: Tensor  # (M,) log of the acceptance's uniform
    temperature: Tensor  # (M,) tau of the target
    order: Tensor  # (M, K) long, of an informed choice
    expected: Tensor  # (M, T) nats: a guess of the shares of the candidate's energy
    passed: Tensor  # (M,) bool: it differs from the state, and its energy decides
    open: Tensor  # (M, T) bool: the positions of an undecided candidate that are not evaluated
    asked: Tensor  # (M, T) bool: those of them to evaluate next; a candidate with none can be decided
    rows: Tensor  # (M,) long: decoder rows spent
    expert_rows: Tensor  # (M,) long: rows of autoregressive models
    skipped: Tensor  # (M,) long: updates before this one, which proposed the state itself


class Info(NamedTuple):
    """What the updates of M chains did; diagnostics read this and nothing else."""

    candidate: Tensor  # (M, T) long
    log_ratio: Tensor  # (M,) nats, or what was known of it when the rejection was certain; NaN rejects
    accepted: Tensor  # (M,) bool, unchanged candidates included
    novel: Tensor  # (M,) bool: accepted, and not the state it came from
    rows: Tensor  # (M,) long: decoder rows spent
    expert_rows: Tensor  # (M,) long: rows of autoregressive models
    skipped: Tensor  # (M,) long: accepted updates before it, whose candidates were unchanged


class Screened(NamedTuple):
    """What the energies from one pass leave to the masked conditionals of M candidates."""

    passed: Tensor  # (M,) bool: differs from its state, and is not rejected by the surrogate
    open: Tensor  # (M,) bool: passed, and not rejected for certain by what is evaluated
    log_rest: Tensor  # (M,) nats: the log ratio but for the energies; minus infinity or NaN where the surrogate rejects
    scores: Tensor  # (M, T, E) nats, of the candidates; 0 where they are not known
    rows: Tensor  # (M,) long: decoder rows spent so far
    expert_rows: Tensor  # (M,) long: rows of autoregressive models
