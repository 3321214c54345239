"""Tells whether chains of one target have converged, says what to do if not, and exports their draws to ArviZ.

ArviZ (extra `eval`) is imported when it is needed. It computes the rank-normalised split R-hat and the bulk and tail
effective sample sizes (Vehtari et al., 2021) of the energy.
"""

import importlib
from typing import Any, NamedTuple, Protocol

import numpy as np

from fairseq_mh.errors import UserError

SHORTEST = 20  # draws of a chain: R-hat compares halves of chains, and needs ten draws in each
CONVERGED = 1.01  # the largest R-hat of converged chains, as Vehtari et al. recommend
BY_CHANCE = 250  # draws of a chain, below which independent draws of four chains can have a larger R-hat
AXES = {"chain_axis": 0, "draw_axis": 1}


class Drawn(Protocol):
    """Draws of C chains of one target: `Run`, whose N chains are these, `Samples`, or `Draws`."""

    @property
    def tokens(self) -> Any:
        """The states (C, S, T), S draws of each chain."""

    @property
    def energies(self) -> Any:
        """The energies of the states (C, S), in nats."""


class Draws(NamedTuple):
    """Draws of C chains: states (C, S, T), and their energies (C, S) in nats."""

    tokens: Any
    energies: Any


class Convergence(NamedTuple):
    """What draws tell of the convergence of C chains.

    Attributes:
        chains: C.
        draws: S, the number of draws of each chain.
        frozen: the number of chains that never moved.
        r_hat: R-hat of the energy; None for one chain, a frozen chain, or fewer than 20 draws of a chain.
        ess_bulk: the effective sample size of the energy over all chains; None in the last two cases.
        ess_tail: that of the 5 % and 95 % quantiles of the energy; None in the same cases.
        autocorrelation: of the energy at lag 1, the mean over the chains that moved; None if there is none.
    """

    chains: int
    draws: int
    frozen: int
    r_hat: float | None
    ess_bulk: float | None
    ess_tail: float | None
    autocorrelation: float | None

    @property
    def advice(self) -> str:
        """What to do before the draws are used; an empty string if the chains have converged."""
        if self.draws < SHORTEST:
            return f"fewer than {SHORTEST} draws of each chain cannot be judged: draw more"
        if self.frozen:
            return (
                "some chains never moved: if all chains are in one state, it has nearly all of the probability; if "
                "not, draw more, or at a higher temperature"
            )
        if self.chains == 1:
            return "one chain cannot be compared with others: run four"
        if self.r_hat is None or not self.r_hat <= CONVERGED:
            return (
                f"the chains disagree (R-hat is above {CONVERGED}): draw more (with fewer than {BY_CHANCE} draws of "
                "each chain, R-hat can be so large by chance), discard more of the first sweeps, or draw at a higher "
                "temperature"
            )
        return ""


def convergence(drawn: Drawn, burn_in: int = 0) -> Convergence:
    """Tell whether chains have converged.

    Args:
        drawn: the draws of chains at one temperature: a `Run`, `Samples`, or `Draws`.
        burn_in: the number of first draws of each chain to leave out.

    Raises:
        UserError: if ArviZ is not installed.
    """
    stats = arviz("arviz_stats.base").array_stats
    tokens, energies = (np.asarray(part)[:, burn_in:] for part in (drawn.tokens, drawn.energies))
    moved = (tokens != tokens[:, :1]).any((1, 2))
    lags = stats.autocorr(energies[moved], axis=1)[:, 1] if moved.any() else []
    autocorrelation = float(np.mean(lags)) if len(lags) else None
    chains, draws = energies.shape
    found = Convergence(chains, draws, int((~moved).sum()), None, None, None, autocorrelation)
    if found.frozen or found.draws < SHORTEST:
        return found
    return found._replace(
        r_hat=float(stats.rhat(energies, **AXES)) if found.chains > 1 else None,
        ess_bulk=float(stats.ess(energies, **AXES, method="bulk")),
        ess_tail=float(stats.ess(energies, **AXES, method="tail", prob=(0.05, 0.95))),
    )


def to_arviz(drawn: Drawn, burn_in: int = 0) -> Any:
    """Return draws as ArviZ's InferenceData, which is an xarray `DataTree`.

    Its group `posterior` has `energy` (chain, draw) in nats and `tokens` (chain, draw, position).

    Args:
        drawn: the draws: a `Run`, `Samples`, or `Draws`.
        burn_in: the number of first draws of each chain to leave out.

    Raises:
        UserError: if ArviZ is not installed.
    """
    energies, tokens = (np.asarray(part)[:, burn_in:] for part in (drawn.energies, drawn.tokens))
    return arviz("arviz_base").from_dict(
        {"posterior": {"energy": energies, "tokens": tokens}}, dims={"tokens": ["position"]}
    )


def arviz(module: str) -> Any:
    """Import a module of ArviZ.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"this needs {str(error.name).partition('.')[0]}: pip install 'fairseq-mh[eval]'") from None
