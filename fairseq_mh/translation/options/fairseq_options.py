"""fairseq's generation options that this plugin's decoders do not read, and what replaces them.

fairseq's command lines accept every generation option for every task, so an option that would have no effect is refused
here. A test fails if an option of fairseq's `GenerationConfig` is neither read nor refused.
"""

from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from fairseq.dataclass.configs import GenerationConfig

MINE = {
    "temperature": "--mh-temperature",
    "beam": "--iter-decode-with-beam for several lengths, --mh-chains for chains",
}
MINE |= {"sampling": "--mh-preset sample", "sampling_topk": "--mh-nucleus", "sampling_topp": "--mh-nucleus"}
MINE |= dict.fromkeys(("lenpen", "unnormalized", "min_len", "max_len_a", "max_len_b"), "--mh-length-select")
MINE |= dict.fromkeys(("match_source_len", "decoding_format"), "--mh-length-select")
MINE |= {
    "iter_decode_eos_penalty": "--mh-length-select",
    "replace_unk": "nothing, because translations have no unknown words",
}
MINE |= {
    "lm_path": "--mh-energy with the checkpoint of a translation model",
    "print_alignment": "another tool, because the CMLM's attention is not an alignment",
}
MINE |= dict.fromkeys(("retain_dropout", "retain_dropout_modules"), "--mh-preset sample for different translations")
WITHOUT_MEANING = (
    *("beam_mt", "diverse_beam_groups", "diverse_beam_strength", "diversity_rate", "eos_token", "lenpen_mt"),
    *("lm_weight", "max_len_a_mt", "max_len_b_mt", "no_beamable_mm", "no_early_stop", "no_repeat_ngram_size", "unkpen"),
)
DEFAULTS = {field.name: field.default for field in fields(GenerationConfig) if not field.name.startswith("_")}


def with_defaults(generation: Any) -> Any:
    """Return generation options with fairseq's defaults for missing ones; `--eval-bleu-args` gives only some."""
    return SimpleNamespace(**{name: getattr(generation, name, default) for name, default in DEFAULTS.items()})


def unread(generation: Any) -> Mapping[str, bool]:
    """Return a message for each option that these decoders do not read, and whether the option was given."""
    messages = {name: f"is not read by these decoders; use {instead}" for name, instead in MINE.items()}
    messages |= dict.fromkeys(WITHOUT_MEANING, "belongs to another decoder; leave it out")
    return {
        f"--{name.replace('_', '-')} {message}": getattr(generation, name) != DEFAULTS[name]
        for name, message in messages.items()
    }
