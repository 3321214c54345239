"""The plugin's options: fields of the task's dataclass, so that fairseq's command lines show them."""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.translation_lev import NOISE_CHOICES, TranslationLevenshteinConfig
from omegaconf import II

from fairseq_mh.sampler_config import SamplerConfig, option
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
    predicted_share: float = option(
        0.0,
        "with --noise random_mask: the share of the visible target symbols that are replaced by the model's own "
        "predictions, so that a cmlm_transformer learns among its own errors (training)",
    )
    mh_preset: PRESET_CHOICES = option(
        "default",
        "a named set of options; options that are given as well override it. rerank: mask-predict's translations of "
        "five lengths, ordered by the energy; fast: three sweeps of two-stream chains "
        "from mask-predict at the likeliest of five lengths; best: chains with two kinds of starts at each of five "
        "lengths; paper: the paper's annealed chain; sample: samples at a constant temperature of 1",
    )
    mh_decoding: DECODINGS = option(
        "mh",
        "the decoder: Metropolis-Hastings (mh), the same proposals without rejection (gibbs), or the heuristic "
        "mask-predict",
    )
    mh_energy: Optional[str] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "the energy to sample, a sum TERM[:WEIGHT],TERM[:WEIGHT],...; the default weight is 1. With "
        "TERM:WEIGHT/ORDER_WEIGHT the term has another weight where hypotheses are ordered. A term is either an "
        "energy of the CMLM: minus the sum of its logits (raw) or of its log-probabilities (norm), which both take a "
        "decoder row for each position, or an approximation of norm that takes two rows (two-stream); or the "
        "checkpoint of another model with the same dictionary: an autoregressive transformer, also of the other "
        "direction, an electric_transformer or a cmlm_transformer. A term of weight 0 is only written to trace and "
        "output. The name of an existing file may hold commas and colons. Default: two-stream; norm with "
        "--mh-decoding gibbs, and for decoders for which two streams cannot be computed",
    )
    mh_chains: Optional[int] = option(  # noqa: UP045  (fairseq cannot read `int | None`)
        None,
        "chains for each length of each sentence. Default: 3; 1 with mask-predict, which is deterministic",
    )
    mh_burn_in: int = option(0, "number of first sweeps to discard")
    mh_init: START_CHOICES = option(
        "masked",
        "the first state of a chain: a draw of all positions of the masked target at once (masked), a greedy fill of "
        "the masked target (warm-start), mask-predict with --iter-decode-max-iter (mask-predict), mask-predict for the "
        "first chain of each length and masked for the others (mixed), random symbols (random), or the reference, "
        "whose length is used (reference, for studies)",
    )
    mh_select: SELECTION_CHOICES = option(
        "lowest-energy",
        "the states of a chain that become hypotheses: the states after burn-in, lowest energy first (lowest-energy); "
        "only the last state (last); or the states after burn-in, highest expected utility first, in which likelier "
        "states weigh more (mbr: minimum Bayes risk)",
    )
    mh_utility: str = option(
        "bleu-chrf",
        "with --mh-select mbr: the score of one translation against another: sacrebleu's bleu, chrf or their mean "
        "(bleu-chrf), or a metric of the package mbrs, if it is installed: NAME[:SETTING=VALUE,...]",
    )
    mh_mbr_beta: float = option(
        20.0, "with --mh-select mbr: the weight of a translation is exp(this times its score); 0 gives equal weights"
    )
    mh_length_select: LENGTH_CHOICES = option(
        "token-mean",
        "the score that compares hypotheses of different lengths: minus the energy per token (token-mean), or "
        "log p(length | source) minus the energy (length-model). With mask-predict, chains run only at the length of "
        "the likeliest mask-predict translation",
    )
    mh_length_reward: float = option(
        0.0, "with --mh-length-select length-model: nats that are added to the score for each token"
    )
    mh_gold_length: bool = option(False, "decode at the reference's length (for studies)")
    mh_phrases: Optional[str] = option(  # noqa: UP045
        None,
        "with --constraints in fairseq-generate: a file with one line for each sentence of the subset, which has the "
        "phrases that its translation must contain, separated by tabs; text if --bpe is given, otherwise pieces",
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

    Raises:
        UserError: as in `parse_energy`.
    """
    default = TWO_STREAM if two_streams and cfg.mh_decoding != "gibbs" else "norm"
    return parse_energy(cfg.mh_energy or default)


def needs_lengths(cfg: TranslationMHConfig) -> bool:
    """Tell whether the options decode at the references' lengths."""
    return bool(cfg.mh_gold_length) or cfg.mh_init == "reference"


def chains_of(cfg: TranslationMHConfig) -> int:
    """Return the value of `--mh-chains`, or its default."""
    default = 1 if cfg.mh_decoding == "mask-predict" else 3
    return default if cfg.mh_chains is None else cfg.mh_chains
