"""The sampler: masked language models as energy-based models, and Metropolis-Hastings on them.

Pure torch; nothing here knows fairseq. Equations are those of Goyal, Dyer and Berg-Kirkpatrick, "Exposing the Implicit
Energy Networks behind Masked Language Models via Metropolis-Hastings" (ICLR 2022).

Shapes: N chains, T positions (padded to the longest), V vocabulary, D features, E energies, M rows of a query, P masked
positions of a query, U updates of a sweep. Energies and log-probabilities are in nats.
"""

from fairseq_mh.mcmc.chain import chain_stream, run
from fairseq_mh.mcmc.conditional import conditional
from fairseq_mh.mcmc.energy import ENERGIES, site_scores, total
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.logits_lm import LogitsLM
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.moves.informed import Informed
from fairseq_mh.mcmc.moves.masked import MaskedConditional, Proposal, Proposed
from fairseq_mh.mcmc.one_pass import OnePassEnergy, PartitionPseudoLikelihood
from fairseq_mh.mcmc.record import Run, Snapshot, Sweep
from fairseq_mh.mcmc.sample import sample
from fairseq_mh.mcmc.scan import SCANS
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.state import State
from fairseq_mh.mcmc.target import Energy, Term
from fairseq_mh.mcmc.trial import Info

__all__ = [
    "ENERGIES",
    "SCANS",
    "Energy",
    "Info",
    "Informed",
    "Kernel",
    "LogitsLM",
    "MaskedConditional",
    "MaskedLM",
    "OnePassEnergy",
    "PartitionPseudoLikelihood",
    "Proposal",
    "Proposed",
    "Run",
    "Schedule",
    "Snapshot",
    "State",
    "Sweep",
    "Term",
    "chain_stream",
    "conditional",
    "run",
    "sample",
    "site_scores",
    "total",
]
