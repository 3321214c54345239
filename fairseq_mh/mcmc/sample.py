"""The sampler in one call."""

from functools import partial

import torch
from torch import Tensor

from fairseq_mh.mcmc.chain import Progress, chain_stream, run
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.moves.informed import Informed
from fairseq_mh.mcmc.moves.masked import MaskedConditional, Proposal
from fairseq_mh.mcmc.one_pass import OnePassEnergy
from fairseq_mh.mcmc.record import Run
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.target import Energy, as_energy

INFORMED = "informed"  # a scan that is the proposal's own


def proposal_of(
    scan: str, temperature: float = 1.0, nucleus: float = 1.0, top_k: int = 0, mix: float = 0.0
) -> Proposal:
    """Return the proposal with this scan: a name of `SCANS`, or `informed`.

    Args:
        temperature, nucleus, top_k, mix: of `conditional`.

    Raises:
        ValueError: for a scan of another name.
    """
    log_q = partial(conditional, temperature=temperature, nucleus=nucleus, top_k=top_k, mix=mix)
    return Informed(log_q) if scan == INFORMED else MaskedConditional(scan, log_q)


@torch.no_grad()
def sample(
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
    progress: Progress | None = None,
) -> Run:
    """Sample exp(-E(X) / temperature) by Metropolis-Hastings, one chain from each start.

    Args:
        lm: any model behind the `MaskedLM` protocol.
        start: (N, T) long, the first states, padded behind their ends with `lm.pad`.
        context: (N,) long, the model's context of each chain; all are in context 0 unless given.
        energy: a name of `ENERGIES`, an energy from one pass, or a weighted sum of terms.
        temperature: of the target, above 0.
        final_temperature: at the last sweep, linear in between; the same unless given.
        sweeps: how often each position is redrawn.
        burn_in: the sweep whose end is the first that `Run.lowest` may be.
        block_size: how many positions are redrawn at once; 0 is all of them.
        final_block_size: at the last sweep; the same unless given.
        scan: `random`, `sequential`, or `informed`.
        proposal_temperature: of the proposals.
        metropolis: False accepts everything (degenerate Gibbs), and does not sample that target.
        seed: with the number of a chain and its length it decides the chain.
        progress: is told of every sweep that a chain ends.

    Returns:
        The run: `run.sweeps[-1].end.tokens` (N, T) is where the chains ended, `run.lowest` the states of lowest energy.

    Raises:
        ValueError: for settings that mean nothing, or a start that holds symbols that are no state's.
    """
    valid = start.ne(lm.pad)
    if not valid.any(1).all() or not lm.allowed[start[valid]].all():
        raise ValueError("a start must hold symbols of the state space (lm.allowed) alone, and at least one of them")
    if context is None:
        context = start.new_zeros(len(start))
    final = temperature if final_temperature is None else final_temperature
    schedule = Schedule(
        sweeps=sweeps,
        burn_in=burn_in,
        temperature=temperature,
        final_temperature=final,
        block_size=block_size,
        final_block_size=block_size if final_block_size is None else final_block_size,
    )
    kernel = Kernel(lm, as_energy(energy), proposal_of(scan, proposal_temperature), metropolis)
    lengths = valid.sum(1).tolist()
    streams = [chain_stream(seed, 0, length, chain) for chain, length in enumerate(lengths)]
    return run(kernel, start, context, streams, schedule, progress)
