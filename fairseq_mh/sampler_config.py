"""The options of any sampler: fields of a dataclass, for fairseq's command lines and for ours.

Every name begins with `mh_`, because fairseq silently swallows a field that repeats an option of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.mcmc.kernel import Kernel
from fairseq_mh.mcmc.masked_lm import MaskedLM
from fairseq_mh.mcmc.moves.phrases import Relocation
from fairseq_mh.mcmc.one_pass import PartitionPseudoLikelihood
from fairseq_mh.mcmc.sample import INFORMED, proposal_of
from fairseq_mh.mcmc.scan import SCANS
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.mcmc.target import Energy, Term

SAMPLERS = ChoiceEnum(["mh", "gibbs"])
PROPOSALS = ChoiceEnum(["single", "block"])
ENERGY_CHOICES = ChoiceEnum(list(ENERGIES))
SURROGATES = ChoiceEnum(["partition"])
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
        "energy: minus the sum of the logits (raw), of logits less their mean over the vocabulary (centred), or of the "
        "locally normalised log-probabilities (norm)",
    )
    mh_sweeps: int = option(6, "sweeps of each chain; a sweep redraws as many positions as there are")
    mh_temperature: float = option(0.3, "temperature of the target in the first sweep")
    mh_final_temperature: float = option(0.02, "temperature of the target in the last sweep, linear in between")
    mh_proposal_temperature: float = option(0.5, "temperature of the proposals")
    mh_proposal: PROPOSALS = option("block", "redraw one position at a time, or blocks of them at once")
    mh_block_size: int = option(0, "block proposals: positions in a block in the first sweep; 0 is all of them")
    mh_final_block_size: int = option(1, "block proposals: the same in the last sweep, linear in between")
    mh_nucleus: float = option(1.0, "propose from the smallest set of symbols with this mass; 1 is all")
    mh_top_k: int = option(0, "propose from this many likeliest symbols; 0 is all")
    mh_proposal_mix: float = option(
        0.01, "with --mh-nucleus or --mh-top-k: the share of proposals that all symbols have a part in"
    )
    mh_scan: Optional[SCAN_CHOICES] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "order of the positions within a sweep; sequential: left to right; informed: as many updates, their positions "
        "chosen by how uncertain their symbols are. Not given: informed; with gibbs, which knows no energies, random",
    )
    mh_surrogate: Optional[SURROGATES] = option(  # noqa: UP045
        None,
        "delayed acceptance: candidates must first be accepted by a surrogate of the energy, which takes few rows: "
        "partition (a pseudo-likelihood; each pass masks every n-th position). Default: by the energy alone",
    )
    mh_surrogate_passes: Optional[int] = option(  # noqa: UP045
        None, "with --mh-surrogate partition: decoder rows. Default: 2"
    )


def scan_of(cfg: SamplerConfig) -> str:
    """Return what `--mh-scan` says, or its default."""
    return str(cfg.mh_scan or ("random" if cfg.mh_decoding == "gibbs" else "informed"))


def energy_of(
    cfg: SamplerConfig, one_pass: Mapping[str, Callable[[], Term]] | None = None, further: Sequence[Term] = ()
) -> Energy:
    """Return the energy that the options ask for.

    Args:
        one_pass: the energies from one pass that `--mh-energy` and `--mh-surrogate` may name, beside `partition`.
        further: terms beside the one that `--mh-energy` names.
    """
    partition = Term("partition", PartitionPseudoLikelihood(cfg.mh_surrogate_passes or 2), bounded=True)
    named = {"partition": lambda: partition, **(one_pass or {})}
    first = Term(str(cfg.mh_energy)) if cfg.mh_energy in ENERGIES else named[str(cfg.mh_energy)]()
    if not cfg.mh_surrogate:
        return Energy((first, *further))
    if cfg.mh_surrogate == cfg.mh_energy:
        return Energy((replace(first, screening=1.0), *further))
    surrogate = replace(named[str(cfg.mh_surrogate)](), weight=0.0, screening=1.0)
    return Energy((first, surrogate, *further))


def proposal_settings(cfg: SamplerConfig) -> dict[str, Any]:
    """Return the settings of `conditional`."""
    return {
        "temperature": cfg.mh_proposal_temperature,
        "nucleus": cfg.mh_nucleus,
        "top_k": cfg.mh_top_k,
        "mix": cfg.mh_proposal_mix,
    }


def kernel_of(
    cfg: SamplerConfig, lm: MaskedLM, metropolis: bool, energy: Energy, relocation: Relocation | None = None
) -> Kernel:
    """Return the kernel that the options ask for, with this energy (`energy_of`) and this move of phrases."""
    return Kernel(lm, energy, proposal_of(scan_of(cfg), **proposal_settings(cfg)), metropolis, relocation)


def schedule_of(cfg: SamplerConfig, burn_in: int = 0, thin: int = 1) -> Schedule:
    """Return the schedule that the options ask for.

    Raises:
        UserError: for numbers that no run can have.
    """
    block = cfg.mh_proposal == "block"
    try:
        return Schedule(
            cfg.mh_sweeps,
            burn_in,
            thin,
            cfg.mh_temperature,
            cfg.mh_final_temperature,
            cfg.mh_block_size if block else 1,
            cfg.mh_final_block_size if block else 1,
        )
    except ValueError as error:
        raise UserError(f"--mh-*: {error}") from None


def check_sampler(cfg: SamplerConfig) -> None:
    """Refuse combinations that mean nothing, before anything is loaded or written.

    Raises:
        UserError: for one of them.
    """
    schedule_of(cfg)
    refusals = {
        "--mh-proposal-temperature must be above 0, and finite": not 0 < cfg.mh_proposal_temperature < math.inf,
        "--mh-nucleus must be above 0, and at most 1": not 0 < cfg.mh_nucleus <= 1,
        "--mh-top-k must not be negative": cfg.mh_top_k < 0,
        "--mh-proposal-mix must be from 0 to 1": not 0 <= cfg.mh_proposal_mix <= 1,
        "--mh-proposal-mix must be above 0 with --mh-nucleus or --mh-top-k: a symbol outside would never be left": (
            cfg.mh_decoding == "mh" and cfg.mh_proposal_mix == 0 and (cfg.mh_nucleus < 1 or cfg.mh_top_k > 0)
        ),
        "--mh-scan informed reads the energies of every state; degenerate Gibbs does not compute them": (
            cfg.mh_scan == "informed" and cfg.mh_decoding == "gibbs"
        ),
        "--mh-surrogate-passes must be 1 or more": cfg.mh_surrogate_passes is not None and cfg.mh_surrogate_passes < 1,
        "--mh-surrogate-passes is for --mh-surrogate partition": (
            cfg.mh_surrogate_passes is not None and cfg.mh_surrogate != "partition"
        ),
        "--mh-surrogate delays acceptance; only --mh-decoding mh accepts": (
            cfg.mh_decoding != "mh" and cfg.mh_surrogate is not None
        ),
    }
    refuse(refusals)


def refuse(refusals: Mapping[str, bool]) -> None:
    """Refuse what means nothing.

    Args:
        refusals: from each message to whether it applies.

    Raises:
        UserError: with the first message that applies.
    """
    for message, refused in refusals.items():
        if refused:
            raise UserError(message)
