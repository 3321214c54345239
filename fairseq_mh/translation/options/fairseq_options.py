"""fairseq's options of generation: those that our decoders read, and what to use instead of the others.

fairseq's command lines accept all of them, whatever the task; one that would do nothing is refused. Together the two
lists hold every option of fairseq's `GenerationConfig`, so that a new one is a decision (a test says so).
"""

from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from fairseq.dataclass.configs import GenerationConfig

READ = frozenset(
    {
        "iter_decode_force_max_iter",  # what these decoders do anyway
        "iter_decode_max_iter",
        "iter_decode_with_beam",
        "iter_decode_with_external_reranker",
        "nbest",
        "no_seed_provided",  # fairseq's own note
        "prefix_size",
        "print_step",
        "retain_iter_history",
        "sacrebleu",  # of the scoring
        "score_reference",
        "constraints",
    }
)
MINE = {
    "temperature": "--mh-temperature",
    "beam": "--iter-decode-with-beam for several lengths, --mh-chains for chains",
}
MINE |= {"sampling": "--mh-preset sample", "sampling_topk": "--mh-nucleus", "sampling_topp": "--mh-nucleus"}
MINE |= dict.fromkeys(("lenpen", "unnormalized", "min_len", "max_len_a", "max_len_b"), "--mh-length-select")
MINE |= dict.fromkeys(("match_source_len", "decoding_format"), "--mh-length-select")
MINE |= {
    "iter_decode_eos_penalty": "--mh-length-select",
    "replace_unk": "nothing: no translation holds an unknown word",
}
MINE |= {
    "lm_path": "--mh-energy with the checkpoint of a model of translations",
    "print_alignment": "another tool: the CMLM's attention is no alignment",
}
MINE |= dict.fromkeys(("retain_dropout", "retain_dropout_modules"), "--mh-preset sample: chains draw, dropout does not")
WITHOUT_MEANING = (
    *("beam_mt", "diverse_beam_groups", "diverse_beam_strength", "diversity_rate", "eos_token", "lenpen_mt"),
    *("lm_weight", "max_len_a_mt", "max_len_b_mt", "no_beamable_mm", "no_early_stop", "no_repeat_ngram_size", "unkpen"),
)
DEFAULTS = {field.name: field.default for field in fields(GenerationConfig) if not field.name.startswith("_")}


def with_defaults(generation: Any) -> Any:
    """Return generation options of which some may be missing, as those of `--eval-bleu-args` are, with all of them."""
    return SimpleNamespace(**{name: getattr(generation, name, default) for name, default in DEFAULTS.items()})


def unread(generation: Any) -> Mapping[str, bool]:
    """Return a message for each option that these decoders do not read, and whether the option was given."""
    messages = {name: f"is not read by these decoders; use {instead}" for name, instead in MINE.items()}
    messages |= dict.fromkeys(WITHOUT_MEANING, "is of another decoder, and not read by these")
    return {
        f"--{name.replace('_', '-')} {message}": getattr(generation, name) != DEFAULTS[name]
        for name, message in messages.items()
    }
