"""The options of every sampler: fields of a dataclass, for the command lines of fairseq and of this plugin.

Every name begins with `mh_`, because fairseq silently drops a field that has the name of one of its own options.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_mh.errors import refuse, too_many
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

    mh_decoding: SAMPLERS = option(
        "mh", "the sampler: Metropolis-Hastings (mh), or the same proposals without rejection (gibbs)"
    )
    mh_energy: ENERGY_CHOICES = option(
        "norm",
        "the energy to sample: minus the sum of the logits (raw), or of locally normalised log-probabilities (norm)",
    )
    mh_sweeps: int = option(6, "sweeps of each chain; one sweep redraws as many positions as the text has")
    mh_temperature: float = option(0.3, "temperature of the target in the first sweep")
    mh_final_temperature: float = option(
        0.02, "temperature of the target in the last sweep; it changes linearly from the first sweep to the last"
    )
    mh_proposal_temperature: float = option(0.5, "temperature of the proposals")
    mh_block_size: int = option(0, "number of positions that are redrawn together in the first sweep; 0: all positions")
    mh_final_block_size: int = option(
        1,
        "number of positions that are redrawn together in the last sweep; it changes linearly from the first sweep to "
        "the last",
    )
    mh_nucleus: float = option(
        1.0, "propose from the smallest set of symbols with at least this probability mass; 1: all symbols"
    )
    mh_scan: Optional[SCAN_CHOICES] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "order of the positions in a sweep: random order (random), left to right (sequential), or positions with "
        "uncertain symbols more often (informed). Default: informed; random with --mh-decoding gibbs, which has no "
        "energies",
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
        metropolis: False for degenerate Gibbs, in which phrases do not move.
        energy: the energy of the target.
        phrase_order: "ordered" or "unordered" if chains hold phrases, and otherwise None.
    """
    move = move_of(scan_of(cfg), energy, cfg.mh_proposal_temperature, cfg.mh_nucleus)
    if phrase_order and metropolis:
        move = PhraseMove(move, phrase_order == "ordered")
    return Kernel(lm, energy, move, metropolis)


def schedule_of(cfg: SamplerConfig, burn_in: int = 0) -> Schedule:
    """Return the schedule of the options.

    Args:
        cfg: the options.
        burn_in: the number of first sweeps to discard.

    Raises:
        UserError: if a number is out of range.
    """
    refusals = {
        "--mh-sweeps must not be negative": cfg.mh_sweeps < 0,
        f"--mh-burn-in must be from 0 to --mh-sweeps, which is {cfg.mh_sweeps}": not 0 <= burn_in <= cfg.mh_sweeps,
    }
    for name, value in {"": cfg.mh_temperature, "final-": cfg.mh_final_temperature}.items():
        refusals[f"--mh-{name}temperature must be above 0 and finite"] = not 0 < value < math.inf
    sizes = {"mh_block_size": cfg.mh_block_size, "mh_final_block_size": cfg.mh_final_block_size}
    for name, size in sizes.items():
        refusals[f"--{name.replace('_', '-')} must be 1 or more, or 0 for all positions"] = size < 0
    refuse(refusals | too_many(mh_sweeps=cfg.mh_sweeps, **sizes))
    return Schedule(
        cfg.mh_sweeps,
        burn_in,
        cfg.mh_temperature,
        cfg.mh_final_temperature,
        cfg.mh_block_size,
        cfg.mh_final_block_size,
    )


def check_sampler(cfg: SamplerConfig) -> None:
    """Refuse values and combinations of options that no sampler can use, before anything is loaded or written.

    Raises:
        UserError: with the first message that applies.
    """
    schedule_of(cfg)
    refuse(
        {
            "--mh-proposal-temperature must be above 0 and finite": not 0 < cfg.mh_proposal_temperature < math.inf,
            "--mh-nucleus must be above 0 and at most 1": not 0 < cfg.mh_nucleus <= 1,
            "--mh-scan informed cannot be used with --mh-decoding gibbs, which computes no energies; use random": (
                cfg.mh_scan == INFORMED and cfg.mh_decoding == "gibbs"
            ),
        }
    )
