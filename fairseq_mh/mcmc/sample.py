"""The sampler in one call."""

from collections.abc import Generator
from functools import partial
from typing import Any

from torch import Tensor

from fairseq_mh.mcmc.chain import EndedSweep, chain_stream, finish, run
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.energy import Energy, OnePassEnergy, as_energy
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.move import Move
from fairseq_mh.mcmc.moves.informed import Informed
from fairseq_mh.mcmc.moves.masked import MaskedConditional
from fairseq_mh.mcmc.record import Run
from fairseq_mh.mcmc.schedule import Schedule

INFORMED = "informed"  # a scan that is a move of its own


def move_of(scan: str, energy: Energy, temperature: float = 1.0, nucleus: float = 1.0) -> Move:
    """Return the move that redraws positions with this scan: a name of `SCANS`, or `informed`.

    Args:
        scan: the name.
        energy: the energy of the target, which informed moves read.
        temperature: tau_q, see `conditional`.
        nucleus: see `conditional`.

    Raises:
        ValueError: for an unknown scan.
    """
    log_q = partial(conditional, temperature=temperature, nucleus=nucleus)
    if scan == INFORMED:
        return Informed(log_q=log_q, certainty=energy.certainty)
    return MaskedConditional(scan, log_q)


def sample(lm: MaskedLM, start: Tensor, **settings: Any) -> Run:
    """Sample exp(-E(X) / temperature) by Metropolis-Hastings, one chain from each start.

    Args:
        lm: any model behind the `MaskedLM` protocol.
        start: (N, T) long, the first states, padded after their ends with `lm.pad`.
        settings: the keyword arguments of `sweeps`.

    Returns:
        The run: `run.sweeps[-1].end.tokens` (N, T) are the states in which the chains ended, `run.lowest` the states of
        lowest energy.

    Raises:
        ValueError: for invalid settings, or a start with symbols that no state may hold.
    """
    return finish(sweeps(lm, start, **settings))


def sweeps(
    lm: MaskedLM,
    start: Tensor,
    *,
    context: Tensor | None = None,
    energy: str | OnePassEnergy | Energy = "norm",
    temperature: float = 1.0,
    final_temperature: float | None = None,
    sweeps: int = 33,
    burn_in: int = 0,
    block_size: int = 1,
    final_block_size: int | None = None,
    scan: str = "random",
    proposal_temperature: float = 1.0,
    metropolis: bool = True,
    seed: int = 1,
) -> Generator[EndedSweep, None, Run]:
    """Sample as `sample` does, and yield every sweep of every chain when it has ended.

    Args:
        lm: any model behind the `MaskedLM` protocol.
        start: (N, T) long, the first states, padded after their ends with `lm.pad`.
        context: (N,) long, the model's context of each chain; by default, all are in context 0.
        energy: a name of `ENERGIES`, an energy from one pass, or a weighted sum of terms.
        temperature: the temperature of the target, above 0.
        final_temperature: the temperature at the last sweep, linear in between; by default, it is constant.
        sweeps: the number of times that each position is redrawn.
        burn_in: number of first sweeps to discard when `Run.lowest` is chosen.
        block_size: the number of positions that are redrawn at once; 0 is all of them.
        final_block_size: the block size at the last sweep; by default, it is constant.
        scan: `random`, `sequential`, or `informed`.
        proposal_temperature: tau_q, the temperature of the proposals.
        metropolis: whether to accept by the ratio; otherwise everything is accepted (degenerate Gibbs), and the chains
            do not sample the target.
        seed: the seed; the random numbers of a chain depend on it, on the chain's number and on its length.

    Returns:
        A generator; `finish` runs it to its end and returns its run.

    Raises:
        ValueError: as in `sample`, before the generator is started.
    """
    valid = start.ne(lm.pad)
    given = start[valid]
    inside = bool(((given >= 0) & (given < len(lm.allowed))).all())
    if not valid.any(1).all() or not inside or not lm.allowed[given].all():
        raise ValueError("each start needs at least one symbol, and only symbols of the state space (lm.allowed)")
    final = temperature if final_temperature is None else final_temperature
    schedule = Schedule(
        sweeps=sweeps,
        burn_in=burn_in,
        temperature=temperature,
        final_temperature=final,
        block_size=block_size,
        final_block_size=block_size if final_block_size is None else final_block_size,
    )
    target = as_energy(energy)
    kernel = Kernel(lm, target, move_of(scan, target, proposal_temperature), metropolis)
    lengths = valid.sum(1).tolist()
    streams = [chain_stream(seed, 0, length, chain) for chain, length in enumerate(lengths)]
    return run(kernel, start, start.new_zeros(len(start)) if context is None else context, streams, schedule)
