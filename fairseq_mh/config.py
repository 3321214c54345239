"""The plugin's options: fields of the task's dataclass, so that fairseq shows them on its command lines.

Every name begins with `mh_`, because fairseq silently swallows a field that repeats an option of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.translation_lev import NOISE_CHOICES, TranslationLevenshteinConfig
from omegaconf import II

from fairseq_mh.cmlm import Bound
from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.energy import ENERGIES, certainty
from fairseq_mh.mcmc.kernel import Kernel, Propose
from fairseq_mh.mcmc.proposal import conditional, informed, masked_conditional
from fairseq_mh.mcmc.schedule import SCANS, Schedule
from fairseq_mh.mcmc.surrogate import BlockPseudoLikelihood, Surrogate
from fairseq_mh.minimum_bayes_risk import UTILITIES
from fairseq_mh.selection import LENGTH_SELECTIONS, SELECTIONS
from fairseq_mh.start import STARTS
from fairseq_mh.two_stream import TwoStream

DECODINGS = ChoiceEnum(["mh", "gibbs", "mask-predict"])
PROPOSALS = ChoiceEnum(["single", "block"])
ONE_PASS = ("two-stream", "electric")  # energies that do not take a row for each position
ENERGY_CHOICES = ChoiceEnum([*ENERGIES, *ONE_PASS])
SURROGATES = ChoiceEnum(["blocks", *ONE_PASS])
SCAN_CHOICES = ChoiceEnum(list(SCANS))
START_CHOICES = ChoiceEnum(list(STARTS))
SELECTION_CHOICES = ChoiceEnum(list(SELECTIONS))
UTILITY_CHOICES = ChoiceEnum(list(UTILITIES))
LENGTH_CHOICES = ChoiceEnum(list(LENGTH_SELECTIONS))


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class TranslationMHConfig(TranslationLevenshteinConfig):
    noise: NOISE_CHOICES = _option("random_mask", "type of noise (training)")
    mh_decoding: DECODINGS = _option(
        "mh", "mh: Metropolis-Hastings; gibbs: the same proposals, always accepted; mask-predict: the heuristic"
    )
    mh_energy: ENERGY_CHOICES = _option(
        "norm",
        "energy of a translation: minus the sum of its logits (raw), of logits less their mean over the vocabulary "
        "(centred), or of its locally normalised log-probabilities (norm), each for a decoder row a position; for two "
        "rows nearly norm (two-stream); or, for one, what another model says of it (electric)",
    )
    mh_electric: Optional[str] = _option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None, "checkpoint of an electric_transformer, with --mh-energy electric or --mh-surrogate electric"
    )
    mh_sweeps: int = _option(
        6, "sweeps of each chain, burn-in included; a sweep redraws as many positions as there are"
    )
    mh_burn_in: int = _option(0, "sweeps before the first whose end is a hypothesis")
    mh_thin: int = _option(1, "of the sweeps after burn-in, keep the end of every n-th as a hypothesis")
    mh_chains: Optional[int] = _option(  # noqa: UP045  (fairseq cannot read `int | None`)
        None, "chains for each length of each sentence. Default: 3; mask-predict, which is deterministic, has one"
    )
    mh_temperature: float = _option(0.3, "temperature of the target in the first sweep")
    mh_final_temperature: float = _option(0.02, "temperature of the target in the last sweep, linear in between")
    mh_proposal_temperature: float = _option(0.5, "temperature of the proposals")
    mh_proposal: PROPOSALS = _option("block", "redraw one position at a time, or blocks of them at once")
    mh_block_size: int = _option(0, "block proposals: positions in a block in the first sweep; 0 is all of them")
    mh_final_block_size: int = _option(1, "block proposals: the same in the last sweep, linear in between")
    mh_nucleus: float = _option(1.0, "propose from the smallest set of symbols with this mass; 1 is all")
    mh_top_k: int = _option(0, "propose from this many likeliest symbols; 0 is all")
    mh_proposal_mix: float = _option(
        0.01, "with --mh-nucleus or --mh-top-k: the share of proposals that all symbols have a part in"
    )
    mh_scan: Optional[SCAN_CHOICES] = _option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "order of the positions within a sweep; sequential: left to right; informed: as many updates, their positions "
        "chosen by how uncertain their symbols are. Default: informed; with gibbs, which computes no energies, random",
    )
    mh_surrogate: Optional[SURROGATES] = _option(  # noqa: UP045
        None,
        "delayed acceptance: candidates must first be accepted by a surrogate of the energy, which takes few rows: "
        "blocks (each masks every n-th position), two-stream (two) or electric (one). Default: by the energy alone",
    )
    mh_surrogate_passes: Optional[int] = _option(  # noqa: UP045
        None, "with --mh-surrogate blocks: decoder rows. Default: 2"
    )
    mh_init: START_CHOICES = _option(
        "masked",
        "where chains begin: a draw of all positions of the masked target at once (masked), its greedy fill "
        "(warm-start), mask-predict with --iter-decode-max-iter, random symbols, or the reference (for studies; "
        "implies its length)",
    )
    mh_select: SELECTION_CHOICES = _option(
        "lowest-energy",
        "what of a chain is a hypothesis: its states after burn-in, best energy first; its last state alone; or its "
        "states after burn-in, best expected utility against all of them first (mbr: minimum Bayes risk)",
    )
    mh_utility: UTILITY_CHOICES = _option("chrf", "with --mh-select mbr: sacrebleu's score of one against another")
    mh_length_select: LENGTH_CHOICES = _option(
        "token-mean",
        "how hypotheses of different lengths compare: energy per token, or energy minus log p(length | source); "
        "mask-predict: chains run at one length only, that of the likeliest mask-predict translation",
    )
    mh_gold_length: bool = _option(False, "decode at the reference's length (for studies)")
    mh_trace: Optional[str] = _option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None, "write every chain's states, energies and counts, sweep by sweep, to this JSON lines file"
    )
    seed: int = II("common.seed")
    bf16: bool = II("common.bf16")


def chains_of(cfg: TranslationMHConfig) -> int:
    """What `--mh-chains` says, or its default."""
    default = 1 if cfg.mh_decoding == "mask-predict" else 3
    return default if cfg.mh_chains is None else cfg.mh_chains


def scan_of(cfg: TranslationMHConfig) -> str:
    """What `--mh-scan` says, or its default."""
    return str(cfg.mh_scan or ("random" if cfg.mh_decoding == "gibbs" else "informed"))


def proposal_of(cfg: TranslationMHConfig) -> Propose:
    log_q = partial(
        conditional,
        temperature=cfg.mh_proposal_temperature,
        nucleus=cfg.mh_nucleus,
        top_k=cfg.mh_top_k,
        mix=cfg.mh_proposal_mix,
    )
    if scan_of(cfg) != "informed":
        return partial(masked_conditional, log_q=log_q)
    return partial(informed, log_q=log_q, by=certainty(energy_of(cfg)))


def kernel_of(cfg: TranslationMHConfig, lm: Bound, electric: Surrogate | None, metropolis: bool) -> Kernel:
    """electric: of the same contexts, where the options ask for it (`needs_electric`)."""
    surrogates: dict[str, Callable[[], Surrogate | None]] = {
        "blocks": lambda: BlockPseudoLikelihood(cfg.mh_surrogate_passes or 2),
        "two-stream": lambda: TwoStream(lm),
        "electric": lambda: electric,
    }
    named = cfg.mh_energy if cfg.mh_energy in ONE_PASS else cfg.mh_surrogate
    return Kernel(lm, energy_of(cfg), proposal_of(cfg), metropolis, surrogates[named]() if named else None)


def energy_of(cfg: TranslationMHConfig) -> str:
    """The column of the scores that is the target's energy."""
    return "surrogate" if cfg.mh_energy in ONE_PASS else str(cfg.mh_energy)


def needs_electric(cfg: TranslationMHConfig) -> bool:
    return "electric" in (cfg.mh_energy, cfg.mh_surrogate)


def schedule_of(cfg: TranslationMHConfig) -> Schedule:
    """Raises UserError for numbers that no run can have."""
    block = cfg.mh_proposal == "block"
    try:
        return Schedule(
            cfg.mh_sweeps,
            cfg.mh_burn_in,
            cfg.mh_thin,
            cfg.mh_temperature,
            cfg.mh_final_temperature,
            cfg.mh_block_size if block else 1,
            cfg.mh_final_block_size if block else 1,
            scan_of(cfg),
        )
    except ValueError as error:
        raise UserError(f"--mh-*: {error}") from None


def check(cfg: TranslationMHConfig, generation: Any) -> None:
    """Refuse combinations that mean nothing, before anything is loaded or written."""
    schedule_of(cfg)
    given_length = cfg.mh_gold_length or cfg.mh_init == "reference"
    refusals = {
        "--mh-chains must be 1 or more": chains_of(cfg) < 1,
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
        "--mh-surrogate-passes is for --mh-surrogate blocks": (
            cfg.mh_surrogate_passes is not None and cfg.mh_surrogate != "blocks"
        ),
        "--mh-surrogate delays acceptance; only --mh-decoding mh accepts": (
            cfg.mh_decoding != "mh" and cfg.mh_surrogate is not None
        ),
        f"--mh-energy {cfg.mh_energy} is a target of --mh-decoding mh alone": (
            cfg.mh_decoding != "mh" and cfg.mh_energy in ONE_PASS
        ),
        f"--mh-surrogate stands in for a costlier energy than --mh-energy {cfg.mh_energy}": (
            cfg.mh_energy in ONE_PASS and cfg.mh_surrogate is not None
        ),
        "--mh-energy electric and --mh-surrogate electric need its checkpoint: --mh-electric PATH": (
            needs_electric(cfg) and not cfg.mh_electric
        ),
        "--mh-electric is for --mh-energy electric or --mh-surrogate electric": (
            bool(cfg.mh_electric) and not needs_electric(cfg)
        ),
        "--iter-decode-with-beam must be 1 or more": generation.iter_decode_with_beam < 1,
        "--iter-decode-max-iter must not be negative": generation.iter_decode_max_iter < 0,
        "--nbest must be 1 or more": generation.nbest < 1,
        "--seed must not be negative": cfg.seed < 0,
        "--mh-decoding mask-predict is deterministic: it has one chain a length": (
            cfg.mh_decoding == "mask-predict" and chains_of(cfg) > 1
        ),
        "--iter-decode-with-beam above 1 needs predicted lengths; --mh-gold-length and --mh-init reference give one": (
            given_length and generation.iter_decode_with_beam > 1
        ),
        "--mh-select mbr ranks what chains visited; --mh-decoding mask-predict has no chains": (
            cfg.mh_decoding == "mask-predict" and cfg.mh_select == "mbr"
        ),
        "--mh-init reference begins a chain; --mh-decoding mask-predict has none (for its length: --mh-gold-length)": (
            cfg.mh_decoding == "mask-predict" and cfg.mh_init == "reference"
        ),
        "--iter-decode-with-external-reranker is not supported": generation.iter_decode_with_external_reranker,
        "--print-alignment is not supported": generation.print_alignment is not None,
        "--score-reference is not supported": generation.score_reference,
        "--lm-path is not supported": generation.lm_path is not None,
        "--prefix-size is not supported": generation.prefix_size > 0,
        "--constraints is not supported": bool(generation.constraints),
        "--retain-dropout is not supported": generation.retain_dropout,
    }
    for message, refused in refusals.items():
        if refused:
            raise UserError(message)
