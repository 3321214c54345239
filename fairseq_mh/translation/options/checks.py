"""Checks of option values and combinations, which run before anything is loaded or written."""

import math
from typing import Any

from fairseq_mh.errors import BAD_SEED, SEEDS, refuse, too_many
from fairseq_mh.sampler_config import check_sampler, schedule_of
from fairseq_mh.translation.options.config import TranslationMHConfig, chains_of, needs_lengths
from fairseq_mh.translation.options.energy_sum import parse_energy
from fairseq_mh.translation.options.fairseq_options import unread
from fairseq_mh.translation.ranking.minimum_bayes_risk import MOST, check_utility

Refusals = dict[str, bool]  # from a message to whether it applies


def check(cfg: TranslationMHConfig, generation: Any) -> None:
    """Refuse values and combinations of options that no decoder can use.

    Args:
        cfg: the plugin's options.
        generation: fairseq's generation options.

    Raises:
        UserError: with the first message that applies.
    """
    check_sampler(cfg)
    schedule_of(cfg, cfg.mh_burn_in)
    if cfg.mh_energy:
        parse_energy(cfg.mh_energy)
    check_utility(cfg.mh_utility)
    refuse(_numbers(cfg, generation) | _lengths(cfg, generation) | _starts(cfg))
    refuse({**_given_parts(cfg, generation), **unread(generation)})


def _numbers(cfg: TranslationMHConfig, generation: Any) -> Refusals:
    counted = ("iter_decode_with_beam", "iter_decode_max_iter", "nbest", "prefix_size")
    return too_many(mh_chains=chains_of(cfg), **{name: getattr(generation, name) for name in counted}) | {
        "--mh-chains must be 1 or more": chains_of(cfg) < 1,
        "--iter-decode-with-beam must be 1 or more": generation.iter_decode_with_beam < 1,
        "--iter-decode-max-iter must not be negative": generation.iter_decode_max_iter < 0,
        "--nbest must be 1 or more": generation.nbest < 1,
        "--prefix-size must not be negative": generation.prefix_size < 0,
        BAD_SEED: cfg.seed not in SEEDS,
        "--mh-mbr-beta must be 0 or more, and finite": not 0 <= cfg.mh_mbr_beta < math.inf,
        f"--nbest must be at most {MOST} with --mh-select mbr, which compares {MOST} translations": (
            cfg.mh_select == "mbr" and generation.nbest > MOST
        ),
    }


def _lengths(cfg: TranslationMHConfig, generation: Any) -> Refusals:
    return {
        "--iter-decode-with-beam must be 1 with --mh-gold-length or --mh-init reference, which give one length": (
            needs_lengths(cfg) and generation.iter_decode_with_beam > 1
        ),
        "--mh-length-reward must be finite": not math.isfinite(cfg.mh_length_reward),
        "--mh-length-reward needs --mh-length-select length-model": (
            cfg.mh_length_reward != 0 and cfg.mh_length_select != "length-model"
        ),
    }


def _starts(cfg: TranslationMHConfig) -> Refusals:
    return {
        "--mh-chains must be 1 with --mh-decoding mask-predict, which is deterministic": (
            cfg.mh_decoding == "mask-predict" and chains_of(cfg) > 1
        ),
        "--mh-init mixed needs --mh-chains 2 or more, because it starts the chains of a length in two ways": (
            cfg.mh_init == "mixed" and cfg.mh_decoding != "mask-predict" and chains_of(cfg) < 2
        ),
        "--mh-init reference cannot be used with --mh-decoding mask-predict; --mh-gold-length gives its length": (
            cfg.mh_decoding == "mask-predict" and cfg.mh_init == "reference"
        ),
    }


def _given_parts(cfg: TranslationMHConfig, generation: Any) -> Refusals:
    return {
        "--prefix-size cannot be combined with --score-reference; give one of them": (
            bool(generation.prefix_size) and bool(generation.score_reference)
        ),
        "--constraints cannot be combined with --score-reference; give one of them": (
            bool(generation.constraints) and bool(generation.score_reference)
        ),
        "--mh-phrases needs --constraints ordered or --constraints unordered": (
            cfg.mh_phrases is not None and not generation.constraints
        ),
    }
