"""Combinations of options that mean nothing, and are refused before anything is loaded or written."""

import math
from typing import Any

from fairseq_mh.energies.experts import parse_experts
from fairseq_mh.energies.target import ONE_PASS_ENERGIES
from fairseq_mh.sampler_config import check_sampler, refuse
from fairseq_mh.translation.options.config import TranslationMHConfig, chains_of, needs_electric, translation_schedule
from fairseq_mh.translation.options.fairseq_options import unread
from fairseq_mh.translation.ranking.minimum_bayes_risk import MOST

Refusals = dict[str, bool]  # what is said -> whether it is so


def check(cfg: TranslationMHConfig, generation: Any) -> None:
    """Refuse combinations that mean nothing.

    Args:
        generation: fairseq's generation options.

    Raises:
        UserError: for one of them.
    """
    check_sampler(cfg)
    translation_schedule(cfg)
    parse_experts(cfg.mh_expert or "")
    refuse(_of_numbers(cfg, generation) | _of_energies(cfg) | _of_lengths(cfg, generation) | _of_starts(cfg))
    refuse({**_of_what_is_given(cfg, generation), **unread(generation)})


def _of_numbers(cfg: TranslationMHConfig, generation: Any) -> Refusals:
    return {
        "--mh-chains must be 1 or more": chains_of(cfg) < 1,
        "--iter-decode-with-beam must be 1 or more": generation.iter_decode_with_beam < 1,
        "--iter-decode-max-iter must not be negative": generation.iter_decode_max_iter < 0,
        "--nbest must be 1 or more": generation.nbest < 1,
        "--prefix-size must not be negative": generation.prefix_size < 0,
        "--seed must not be negative": cfg.seed < 0,
        "--mh-mbr-beta must be 0 or more, and finite": not 0 <= cfg.mh_mbr_beta < math.inf,
        f"--mh-select mbr compares {MOST} translations; --nbest must not be above that": (
            cfg.mh_select == "mbr" and generation.nbest > MOST
        ),
    }


def _of_energies(cfg: TranslationMHConfig) -> Refusals:
    return {
        f"--mh-energy {cfg.mh_energy} is a target of --mh-decoding mh alone": (
            cfg.mh_decoding != "mh" and cfg.mh_energy in ONE_PASS_ENERGIES
        ),
        f"--mh-surrogate stands in for a costlier energy than --mh-energy {cfg.mh_energy}": (
            cfg.mh_energy in ONE_PASS_ENERGIES and cfg.mh_surrogate is not None
        ),
        "--mh-energy electric and --mh-surrogate electric need its checkpoint: --mh-electric PATH": (
            needs_electric(cfg) and not cfg.mh_electric
        ),
        "--mh-electric is for --mh-energy electric or --mh-surrogate electric": (
            bool(cfg.mh_electric) and not needs_electric(cfg)
        ),
        "--mh-expert is a term of the energy that chains sample: it needs --mh-decoding mh": (
            cfg.mh_decoding != "mh" and bool(cfg.mh_expert)
        ),
    }


def _of_lengths(cfg: TranslationMHConfig, generation: Any) -> Refusals:
    given_length = cfg.mh_gold_length or cfg.mh_init == "reference"
    return {
        "--iter-decode-with-beam above 1 needs predicted lengths; --mh-gold-length and --mh-init reference give one": (
            given_length and generation.iter_decode_with_beam > 1
        ),
        "--mh-length-bias and --mh-length-reward must be finite": not all(
            map(math.isfinite, (cfg.mh_length_bias, cfg.mh_length_reward))
        ),
        "--mh-length-bias is for predicted lengths; --mh-gold-length and --mh-init reference give one": (
            given_length and cfg.mh_length_bias != 0
        ),
        "--mh-length-reward is for --mh-length-select length-model": (
            cfg.mh_length_reward != 0 and cfg.mh_length_select != "length-model"
        ),
    }


def _of_starts(cfg: TranslationMHConfig) -> Refusals:
    return {
        "--mh-decoding mask-predict is deterministic: it has one chain a length": (
            cfg.mh_decoding == "mask-predict" and chains_of(cfg) > 1
        ),
        "--mh-init mixed begins chains of a length in two ways: it needs --mh-chains 2 or more": (
            cfg.mh_init == "mixed" and cfg.mh_decoding != "mask-predict" and chains_of(cfg) < 2
        ),
        "--mh-init reference begins a chain; --mh-decoding mask-predict has none (for its length: --mh-gold-length)": (
            cfg.mh_decoding == "mask-predict" and cfg.mh_init == "reference"
        ),
    }


def _of_what_is_given(cfg: TranslationMHConfig, generation: Any) -> Refusals:
    return {
        "--prefix-size and --score-reference exclude each other": (
            bool(generation.prefix_size) and bool(generation.score_reference)
        ),
        "--constraints and --score-reference exclude each other": (
            bool(generation.constraints) and bool(generation.score_reference)
        ),
        "--mh-phrases needs --constraints ordered or --constraints unordered": (
            cfg.mh_phrases is not None and not generation.constraints
        ),
    }
