"""The sampler: masked language models as energy-based models, and Metropolis-Hastings on them.

Pure torch; nothing here knows fairseq. Equations are those of Goyal, Dyer and Berg-Kirkpatrick, "Exposing the Implicit
Energy Networks behind Masked Language Models via Metropolis-Hastings" (ICLR 2022).

Shapes: N chains, T positions (padded to the longest), V vocabulary, D features, E terms of the energy, M rows of a
query, P masked positions of a query, U updates of a sweep, K updates that are tried at once. Energies and
log-probabilities are in nats.
"""

from fairseq_mh.mcmc.chain import EndedSweep, chain_stream, finish, run
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.energy import ENERGIES, Energy, OnePassEnergy, Term, evaluate, sum_of
from fairseq_mh.mcmc.kernel import Info, Kernel
from fairseq_mh.mcmc.masked_lm import LogitsLM, MaskedLM
from fairseq_mh.mcmc.move import Move, Proposed, SweepPlan, Update
from fairseq_mh.mcmc.moves.informed import Informed
from fairseq_mh.mcmc.moves.masked import SCANS, MaskedConditional
from fairseq_mh.mcmc.moves.phrases import PhraseMove
from fairseq_mh.mcmc.record import Run, Snapshot, Sweep
from fairseq_mh.mcmc.sample import sample, sweeps
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import Cost, State

__all__ = [
    "ENERGIES",
    "SCANS",
    "Cost",
    "EndedSweep",
    "Energy",
    "Info",
    "Informed",
    "Kernel",
    "LogitsLM",
    "MaskedConditional",
    "MaskedLM",
    "Move",
    "OnePassEnergy",
    "PhraseMove",
    "Proposed",
    "Run",
    "Schedule",
    "Snapshot",
    "State",
    "Sweep",
    "SweepPlan",
    "Term",
    "Update",
    "chain_stream",
    "conditional",
    "evaluate",
    "finish",
    "run",
    "sample",
    "sum_of",
    "sweeps",
]
