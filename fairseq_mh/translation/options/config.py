"""The plugin's options: fields of the task's dataclass, so that fairseq shows them on its command lines."""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks.translation_lev import NOISE_CHOICES, TranslationLevenshteinConfig
from omegaconf import II

from fairseq_mh.energies.target import ONE_PASS_ENERGIES
from fairseq_mh.mcmc.energy import ENERGIES
from fairseq_mh.mcmc.schedule import Schedule
from fairseq_mh.sampler_config import SamplerConfig, option, schedule_of
from fairseq_mh.translation.chains.starts import STARTS
from fairseq_mh.translation.options.presets import PRESETS
from fairseq_mh.translation.ranking.selection import LENGTH_SELECTIONS, SELECTIONS

PRESET_CHOICES = ChoiceEnum(list(PRESETS))
DECODINGS = ChoiceEnum(["mh", "gibbs", "mask-predict"])
ENERGY_CHOICES = ChoiceEnum([*ENERGIES, *ONE_PASS_ENERGIES])
SURROGATES = ChoiceEnum(["partition", *ONE_PASS_ENERGIES])
START_CHOICES = ChoiceEnum(list(STARTS))
SELECTION_CHOICES = ChoiceEnum(list(SELECTIONS))
LENGTH_CHOICES = ChoiceEnum(list(LENGTH_SELECTIONS))


@dataclass
class TranslationMHConfig(TranslationLevenshteinConfig, SamplerConfig):
    """The options of the task `translation_mh`."""

    noise: NOISE_CHOICES = option("random_mask", "type of noise (training)")
    mh_preset: PRESET_CHOICES = option(
        "default",
        "sets what is not given: three sweeps of two-stream chains from mask-predict at the likeliest of five lengths "
        "(fast), two ways to begin at each of five lengths (best), the paper's annealed chain (paper), or samples at a "
        "constant temperature of 1 (sample)",
    )
    mh_decoding: DECODINGS = option(
        "mh", "mh: Metropolis-Hastings; gibbs: the same proposals, always accepted; mask-predict: the heuristic"
    )
    mh_energy: Optional[ENERGY_CHOICES] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None,
        "energy of a translation: minus the sum of its logits (raw), of logits less their mean over the vocabulary "
        "(centred), or of its locally normalised log-probabilities (norm), each for a decoder row a position; for two "
        "rows nearly norm (two-stream); or, for one, what another model says of it (electric). Not given: two-stream; "
        "norm with another decoding, a surrogate, or a decoder that two streams cannot be computed for",
    )
    mh_electric: Optional[str] = option(  # noqa: UP045
        None, "checkpoint of an electric_transformer, with --mh-energy electric or --mh-surrogate electric"
    )
    mh_expert: Optional[str] = option(  # noqa: UP045
        None,
        "PATH[:WEIGHT][,PATH[:WEIGHT]...]: further models with the same dictionary, whose energies of a translation, "
        "times their weights, are added to that of --mh-energy: an autoregressive transformer (minus log p), an "
        "electric_transformer, or another cmlm_transformer (two-stream). Default weight: 1",
    )
    mh_chains: Optional[int] = option(  # noqa: UP045  (fairseq cannot read `int | None`)
        None, "chains for each length of each sentence. Default: 3; mask-predict, which is deterministic, has one"
    )
    mh_burn_in: int = option(0, "sweeps before the first whose end is a hypothesis")
    mh_thin: int = option(1, "of the sweeps after burn-in, keep the end of every n-th as a hypothesis")
    mh_surrogate: Optional[SURROGATES] = option(  # noqa: UP045
        None,
        "delayed acceptance: candidates must first be accepted by a surrogate of the energy, which takes few rows: "
        "partition (a pseudo-likelihood; each pass masks every n-th position), two-stream (two) or electric (one). "
        "Default: by the energy alone",
    )
    mh_init: START_CHOICES = option(
        "masked",
        "where chains begin: a draw of all positions of the masked target at once (masked), its greedy fill "
        "(warm-start), mask-predict with --iter-decode-max-iter, mask-predict for the first chain of each length and a "
        "draw of the masked target for the others (mixed), random symbols, or the reference (for studies; implies its "
        "length)",
    )
    mh_select: SELECTION_CHOICES = option(
        "lowest-energy",
        "what of a chain is a hypothesis: its states after burn-in, best energy first; its last state alone; or its "
        "states after burn-in, best expected utility against all of them first, the likelier ones weighing more (mbr: "
        "minimum Bayes risk)",
    )
    mh_utility: str = option(
        "bleu-chrf",
        "with --mh-select mbr: what one translation is worth where another is right: bleu, chrf or their mean "
        "(bleu-chrf) by sacrebleu, or, with the extra mbrs, a metric of mbrs's: NAME[:SETTING=VALUE,...]",
    )
    mh_mbr_beta: float = option(
        20.0, "with --mh-select mbr: a translation weighs exp(this times its score); 0: all weigh the same"
    )
    mh_length_select: LENGTH_CHOICES = option(
        "token-mean",
        "how hypotheses of different lengths compare: minus energy per token, or log p(length | source) minus energy; "
        "mask-predict: chains run at one length only, that of the likeliest mask-predict translation",
    )
    mh_length_bias: float = option(
        0.0, "nats for each token that are added to log p(length | source): below 0, lengths are shorter than predicted"
    )
    mh_length_reward: float = option(
        0.0, "with --mh-length-select length-model: nats for each token that are added to the score"
    )
    mh_gold_length: bool = option(False, "decode at the reference's length (for studies)")
    mh_phrases: Optional[str] = option(  # noqa: UP045
        None,
        "with --constraints in fairseq-generate: a file with a line for each sentence of the subset, the phrases that "
        "its translation must hold, with tabs between them; text if --bpe is given, otherwise pieces as in the data",
    )
    mh_trace: Optional[str] = option(  # noqa: UP045  (fairseq cannot read `str | None`)
        None, "write every chain's states, energies and counts, sweep by sweep, to this JSON lines file"
    )
    seed: int = II("common.seed")
    bf16: bool = II("common.bf16")
    no_progress_bar: bool = II("common.no_progress_bar")
    cpu: bool = II("common.cpu")
    distributed_world_size: int = II("distributed_training.distributed_world_size")
    distributed_rank: int = II("distributed_training.distributed_rank")


def energy_name(cfg: TranslationMHConfig, two_streams: bool) -> str:
    """Return what `--mh-energy` says, or its default.

    Args:
        two_streams: whether they can be computed for the model's decoder.
    """
    default = "two-stream" if two_streams and cfg.mh_decoding == "mh" and not cfg.mh_surrogate else "norm"
    return str(cfg.mh_energy or default)


def translation_schedule(cfg: TranslationMHConfig) -> Schedule:
    """Return the schedule that the options ask for.

    Raises:
        UserError: for numbers that no run can have.
    """
    return schedule_of(cfg, cfg.mh_burn_in, cfg.mh_thin)


def chains_of(cfg: TranslationMHConfig) -> int:
    """Return what `--mh-chains` says, or its default."""
    default = 1 if cfg.mh_decoding == "mask-predict" else 3
    return default if cfg.mh_chains is None else cfg.mh_chains


def needs_electric(cfg: TranslationMHConfig) -> bool:
    """Return whether the options name an Electric's energy."""
    return "electric" in (cfg.mh_energy, cfg.mh_surrogate)
