"""References for decoding: options may use their lengths, their first tokens, or all of their tokens."""

from copy import copy
from typing import Any

from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.translation.given.outline import OPEN, Outline
from fairseq_mh.translation.options.config import TranslationMHConfig, needs_lengths


def reads_references(cfg: TranslationMHConfig, generation: Any) -> bool:
    """Tell whether decoding reads the references, or their lengths."""
    return needs_lengths(cfg) or bool(generation.prefix_size) or bool(generation.score_reference)


def only_scoring(cfg: TranslationMHConfig) -> TranslationMHConfig:
    """Return a copy of the options with which decoding only evaluates a given target."""
    scoring = copy(cfg)
    scoring.mh_decoding, scoring.mh_init, scoring.mh_select = "mh", "random", "lowest-energy"
    scoring.mh_length_select, scoring.mh_length_reward = "token-mean", 0.0
    scoring.mh_chains, scoring.mh_sweeps, scoring.mh_burn_in, scoring.mh_gold_length = 1, 0, 0, False
    return scoring


class References:
    """Reads the references of fairseq's batches.

    Args:
        cmlm: the model whose targets they are.
    """

    def __init__(self, cmlm: CMLM):
        self.cmlm, self.allowed = cmlm, cmlm.allowed.cpu()

    def lines(self, sample: dict) -> list[Tensor]:
        """Return the references' tokens, (T,) long each.

        Raises:
            UserError: if there are no references, or a reference is empty or longer than the model's targets.
        """
        if sample.get("target") is None:
            raise UserError(
                "--mh-gold-length, --mh-init reference, --prefix-size and --score-reference need references, but this "
                "input has none; decode a data set with references"
            )
        lines = [self.cmlm.target(line) for line in sample["target"]]
        for sentence, line in zip(sample["id"].tolist(), lines, strict=True):
            self.check(sentence, line)
        return lines

    def outlines(self, sample: dict, generation: Any) -> list[Outline]:
        """Return the outline that `--prefix-size` or `--score-reference` gives each target.

        Raises:
            UserError: as in `lines`, if one of these options is given.
        """
        if not generation.prefix_size and not generation.score_reference:
            return [Outline()] * len(sample["id"])
        found = []
        for tokens in self.lines(sample):
            words = tokens[tokens != self.cmlm.eos]  # published Mask-Predict models have EOS at the end of targets
            first = [*words[: generation.prefix_size].tolist(), OPEN]
            found.append(Outline(tokens.tolist() if generation.score_reference else first))
        return found

    def check(self, sentence: int, target: Tensor) -> None:
        """Raise UserError if the target (T,) of a reference is empty or longer than the model's targets."""
        if not 1 <= len(target) <= self.cmlm.longest:
            raise UserError(
                f"reference {sentence} has {len(target)} tokens; this model's targets have 1 to {self.cmlm.longest}"
            )

    def check_all(self, dataset: Any) -> None:
        """Raise UserError if `check` refuses a reference of fairseq's language pair dataset."""
        for sentence in range(len(dataset) if dataset.tgt else 0):
            self.check(sentence, self.cmlm.target(dataset[sentence]["target"]))
