"""The options of any sampler: fields of a dataclass, for fairseq's command lines and for ours.

Every name begins with `mh_`, because fairseq silently swallows a field that repeats an option of its own.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_mh.errors import UserError, refuse
from fairseq_mh.mcmc.energy import ENERGIES, Energy
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.moves.masked import SCANS
from fairseq_mh.mcmc.moves.phrases import PhraseMove
from fairseq_mh.mcmc.sample import INFORMED, move_of
from fairseq_mh.mcmc.schedule import Schedule

SAMPLERS = ChoiceEnum(["mh", "gibbs"])
ENERGY_CHOICES = ChoiceEnum(list(ENERGIES))
SCAN_CHOICES = ChoiceEnum([*SCANS, INFORMED])


def option(default: Any, text: str) -> Any:
    """Return a dataclass field with a default and a help text."""
    return field(default=default, metadata={"help": text})


@dataclass
class SamplerConfig(FairseqDataclass):
    """The options that translation and open-ended generation share."""

    mh_decoding: SAMPLERS = option("mh", "mh: Metropolis-Hastings; gibbs: the same proposals, always accepted")
    mh_energy: ENERGY_CHOICES = option(
        "norm",
        "the energy to sample: minus the sum of the logits (raw), or of locally normalised log-probabilities (norm)",
    )
    mh_sweeps: int = option(6, "sweeps of each chain; one sweep redraws as many positions as there are")
    mh_temperature: float = option(0.3, "temperature of the target in the first sweep")
    mh_final_temperature: float = option(0.02, "temperature of the target in the last sweep, linear in between")
    mh_proposal_temperature: float = option(0.5, "temperature of the proposals")
    mh_block_size: int = option(0, "positions that are redrawn together in the first sweep; 0 is all of them")
    mh_final_block_size: int = option(1, "the same in the last sweep, linear in between")
    mh_nucleus: float = option(1.0, "propose from the smallest set of symbols with this mass; 1 is all")
    mh_scan: Optional[SCAN_CHOICES] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "order of the positions in a sweep: random, left to right (sequential), or positions with uncertain symbols "
        "more often (informed). Default: informed; random with --mh-decoding gibbs, which knows no energies",
    )


def scan_of(cfg: SamplerConfig) -> str:
    """Return the value of `--mh-scan`, or its default."""
    return str(cfg.mh_scan or ("random" if cfg.mh_decoding == "gibbs" else INFORMED))


def kernel_of(
    cfg: SamplerConfig, lm: MaskedLM, metropolis: bool, energy: Energy, phrase_order: str | None = None
) -> Kernel:
    """Return the kernel of the options.

    Args:
        cfg: the options.
        lm: the model.
        metropolis: False for degenerate Gibbs, in which phrases stay where they are.
        energy: of the target.
        phrase_order: `ordered` or `unordered` if chains hold phrases, and otherwise None.
    """
    move = move_of(scan_of(cfg), energy, cfg.mh_proposal_temperature, cfg.mh_nucleus)
    if phrase_order and metropolis:
        move = PhraseMove(move, phrase_order == "ordered")
    return Kernel(lm, energy, move, metropolis)


def schedule_of(cfg: SamplerConfig, burn_in: int = 0) -> Schedule:
    """Return the schedule of the options.

    Raises:
        UserError: for numbers that no run can have.
    """
    try:
        return Schedule(
            cfg.mh_sweeps,
            burn_in,
            cfg.mh_temperature,
            cfg.mh_final_temperature,
            cfg.mh_block_size,
            cfg.mh_final_block_size,
        )
    except ValueError as error:
        raise UserError(f"--mh-*: {error}") from None


def check_sampler(cfg: SamplerConfig) -> None:
    """Refuse combinations that mean nothing, before anything is loaded or written.

    Raises:
        UserError: for one of them.
    """
    schedule_of(cfg)
    refuse(
        {
            "--mh-proposal-temperature must be above 0, and finite": not 0 < cfg.mh_proposal_temperature < math.inf,
            "--mh-nucleus must be above 0, and at most 1": not 0 < cfg.mh_nucleus <= 1,
            "--mh-scan informed reads the energies of every state; degenerate Gibbs does not compute them": (
                cfg.mh_scan == INFORMED and cfg.mh_decoding == "gibbs"
            ),
        }
    )
