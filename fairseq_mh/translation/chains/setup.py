"""The setup of a batch's chains: given parts of the targets, lengths, and each chain's random stream."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.mcmc.chain import chain_stream
from fairseq_mh.translation.chains.plan import lay_out, plan_chains
from fairseq_mh.translation.chains.starts import Start
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.given.phrases import phrases_of, place
from fairseq_mh.translation.given.references import References, needs_lengths
from fairseq_mh.translation.options.config import TranslationMHConfig, chains_of
from fairseq_mh.translation.scorer import Bound, Scorer


class ChainSetup:
    """Prepares the chains of batches.

    Args:
        scorer: the models.
        cfg: the plugin's options.
        generation: fairseq's generation options.
        references: reads the references of the batches.
        end: the tokens at the end of every target.
    """

    def __init__(
        self, scorer: Scorer, cfg: TranslationMHConfig, generation: Any, references: References, end: list[int]
    ):
        self.scorer, self.cfg, self.generation, self.references, self.end = scorer, cfg, generation, references, end

    def __call__(self, bound: Bound, sample: dict, outlines: Sequence[Outline] | None) -> Start:
        """Prepare the chains of a batch of B sentences.

        Args:
            bound: the models with the batch's sources.
            sample: fairseq's batch.
            outlines: the given parts of each target; by default, the parts that the options give.

        Raises:
            SentenceError: if no target has the given parts and length.
            UserError: as in `References` and `phrases_of`, and if a template is combined with --prefix-size or
                --score-reference.
        """
        lm, longest = bound.lm, int(self.scorer.longest_target)
        reference = self.references(sample) if needs_lengths(self.cfg) else None
        gold = None if reference is None else reference.ne(lm.pad).sum(1)
        if outlines and (self.generation.prefix_size or self.generation.score_reference):
            raise UserError("a template cannot be combined with --prefix-size or --score-reference")
        outlines = outlines or self._outlines(sample)
        self._check(outlines, gold)
        log_p = self.scorer.cmlm.length_log_probs(bound.encoder_out)
        log_p[:, longest + 1 :] = -math.inf
        plan = plan_chains(
            torch.stack([outline.possible(lengths) for outline, lengths in zip(outlines, log_p, strict=True)]),
            chains_of(self.cfg),
            self.generation.iter_decode_with_beam,
            gold,
            self.cfg.mh_length_reward,
        )
        if int(plan.lengths.max()) > longest:  # only a reference's length can be this long
            raise SentenceError(
                f"too long: the target may have at most {longest} tokens, for the sake of another model of the energy"
            )
        ids = sample["id"].tolist()
        keys = zip(plan.context.tolist(), plan.lengths.tolist(), plan.chains.tolist(), strict=True)
        streams = [chain_stream(self.cfg.seed, ids[sentence], length, chain) for sentence, length, chain in keys]
        blank, held = lay_out(plan, outlines, streams, lm.mask, lm.pad)
        phrases = [outlines[sentence].phrases for sentence in plan.context.tolist()]
        order = ("ordered" if self.generation.constraints == "ordered" else "unordered") if any(phrases) else None
        placed = place(lm, blank, held, plan.context, phrases, order == "ordered")
        return Start(
            lm=lm,
            plan=plan,
            blank=placed.blank,
            held=placed.held,
            passes=self.generation.iter_decode_max_iter + 1,
            streams=streams,
            reference=reference,
            energy=bound.energy,
            phrase_order=order,
            spent=placed.rows,
        )

    def _outlines(self, sample: dict) -> list[Outline]:
        """Return the parts of each target that the options give."""
        outlines = self.references.outlines(sample, self.generation)
        return [
            Outline([*one.parts, *self.end], phrases) if phrases else one
            for one, phrases in zip(outlines, phrases_of(sample, self.generation), strict=True)
        ]

    def _check(self, outlines: Sequence[Outline], gold: Tensor | None) -> None:
        """Raise SentenceError if no target can have the given parts, or none of its given length (B,) can."""
        lengths = [math.inf] * len(outlines) if gold is None else gold.tolist()
        for outline, length in zip(outlines, lengths, strict=True):
            outline.check(self.references.allowed)
            if outline.fewest > length:
                raise SentenceError(
                    f"the given parts have {outline.fewest} tokens, but the target must have the reference's {length}"
                )
