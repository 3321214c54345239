"""The plugin's options: fields of the task's dataclass, so that fairseq's command lines show them."""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.translation_lev import NOISE_CHOICES, TranslationLevenshteinConfig
from omegaconf import II

from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.sampler_config import SamplerConfig, option, schedule_of
from fairseq_mh.translation.chains.starts import STARTS
from fairseq_mh.translation.options.energy_sum import TWO_STREAM, Summand, parse_energy
from fairseq_mh.translation.options.presets import PRESETS
from fairseq_mh.translation.ranking.selection import LENGTH_SELECTIONS, SELECTIONS

PRESET_CHOICES = ChoiceEnum(list(PRESETS))
DECODINGS = ChoiceEnum(["mh", "gibbs", "mask-predict"])
START_CHOICES = ChoiceEnum(list(STARTS))
SELECTION_CHOICES = ChoiceEnum(list(SELECTIONS))
LENGTH_CHOICES = ChoiceEnum(list(LENGTH_SELECTIONS))


@dataclass
class TranslationMHConfig(TranslationLevenshteinConfig, SamplerConfig):
    """The options of the task `translation_mh`."""

    noise: NOISE_CHOICES = option("random_mask", "type of noise (training)")
    mh_preset: PRESET_CHOICES = option(
        "default",
        "sets every option that is not given: three sweeps of two-stream chains from mask-predict at the likeliest of "
        "five lengths (fast), chains with two kinds of starts at each of five lengths (best), the paper's annealed "
        "chain (paper), or samples at a constant temperature of 1 (sample)",
    )
    mh_decoding: DECODINGS = option(
        "mh", "mh: Metropolis-Hastings; gibbs: the same proposals, always accepted; mask-predict: the heuristic"
    )
    mh_energy: Optional[str] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "the energy to sample, a sum TERM[:WEIGHT],TERM[:WEIGHT],... with weights of 1 unless given. A term is an "
        "energy of the CMLM: minus the sum of its logits (raw) or of its log-probabilities (norm), both for a decoder "
        "row for each position, or nearly norm for two rows (two-stream); or the checkpoint of another model with the "
        "same dictionary: an autoregressive transformer, an electric_transformer or a cmlm_transformer. A term of "
        "weight 0 is in trace and output only. Default: two-stream; norm with --mh-decoding gibbs, and for decoders "
        "that two streams cannot be computed for",
    )
    mh_chains: Optional[int] = option(  # noqa: UP045  (fairseq cannot read `int | None`)
        None, "chains for each length of each sentence. Default: 3; mask-predict, which is deterministic, has one"
    )
    mh_burn_in: int = option(0, "number of first sweeps to discard")
    mh_init: START_CHOICES = option(
        "masked",
        "where chains start: a draw of all positions of the masked target at once (masked), its greedy fill "
        "(warm-start), mask-predict with --iter-decode-max-iter, mask-predict for the first chain of each length and a "
        "draw of the masked target for the others (mixed), random symbols, or the reference and its length (for "
        "studies)",
    )
    mh_select: SELECTION_CHOICES = option(
        "lowest-energy",
        "which states of a chain are hypotheses: those after burn-in, lowest energy first; only its last state; or "
        "those after burn-in, highest expected utility first, where likelier states weigh more (mbr: minimum Bayes "
        "risk)",
    )
    mh_utility: str = option(
        "bleu-chrf",
        "with --mh-select mbr: the score of one translation against another: bleu, chrf or their mean (bleu-chrf) by "
        "sacrebleu, or, with the extra mbrs, a metric of mbrs: NAME[:SETTING=VALUE,...]",
    )
    mh_mbr_beta: float = option(
        20.0, "with --mh-select mbr: a translation weighs exp(this times its score); 0: all weigh the same"
    )
    mh_length_select: LENGTH_CHOICES = option(
        "token-mean",
        "how hypotheses of different lengths are compared: by minus the energy per token, or by log p(length | source) "
        "minus the energy; mask-predict: chains run only at the length of the likeliest mask-predict translation",
    )
    mh_length_reward: float = option(
        0.0, "with --mh-length-select length-model: nats for each token that are added to the score"
    )
    mh_gold_length: bool = option(False, "decode at the reference's length (for studies)")
    mh_phrases: Optional[str] = option(  # noqa: UP045
        None,
        "with --constraints in fairseq-generate: a file that has, for each sentence of the subset, a line with the "
        "phrases that its translation must hold, separated by tabs; text if --bpe is given, otherwise pieces",
    )
    mh_trace: Optional[str] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None, "write the states, energies and counts of every chain and sweep to this file (JSON lines)"
    )
    seed: int = II("common.seed")
    bf16: bool = II("common.bf16")
    no_progress_bar: bool = II("common.no_progress_bar")
    cpu: bool = II("common.cpu")
    distributed_world_size: int = II("distributed_training.distributed_world_size")
    distributed_rank: int = II("distributed_training.distributed_rank")


def summands_of(cfg: TranslationMHConfig, two_streams: bool) -> list[Summand]:
    """Return the terms that `--mh-energy` names, or its default.

    Args:
        cfg: the options.
        two_streams: whether two streams can be computed for the model's decoder.
    """
    default = TWO_STREAM if two_streams and cfg.mh_decoding != "gibbs" else "norm"
    return parse_energy(cfg.mh_energy or default)


def translation_schedule(cfg: TranslationMHConfig) -> Schedule:
    """Return the schedule of the options.

    Raises:
        UserError: for numbers that no run can have.
    """
    return schedule_of(cfg, cfg.mh_burn_in)


def chains_of(cfg: TranslationMHConfig) -> int:
    """Return the value of `--mh-chains`, or its default."""
    default = 1 if cfg.mh_decoding == "mask-predict" else 3
    return default if cfg.mh_chains is None else cfg.mh_chains
