"""The setup of a batch's chains: given parts of the targets, lengths, and each chain's random stream."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError, WarnOnce
from fairseq_mh.mcmc.chain import chain_stream
from fairseq_mh.translation.chains.plan import SURE_LENGTHS, Plan, lay_out, plan_chains
from fairseq_mh.translation.chains.starts import Start
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.given.phrases import phrases_of, place
from fairseq_mh.translation.given.references import References
from fairseq_mh.translation.options.config import TranslationMHConfig, chains_of, needs_lengths
from fairseq_mh.translation.scorer import Bound, Scorer

logger = logging.getLogger(__name__)
FAR = 10  # a predicted length is far from its source if one is this many times the other


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
        self.warn_once = WarnOnce(logger)

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
        lm, reference, gold = bound.lm, None, None
        if needs_lengths(self.cfg):
            reference = data_utils.collate_tokens(self.references.lines(sample), lm.pad)
            gold = reference.ne(lm.pad).sum(1)
        if outlines and (self.generation.prefix_size or self.generation.score_reference):
            raise UserError("a template cannot be combined with --prefix-size or --score-reference")
        outlines = outlines or self._outlines(sample)
        self._check(outlines, gold)
        plan = self._plan(bound, sample, outlines, gold)
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
            order=bound.order,
            phrase_order=order,
            spent=placed.rows,
        )

    def _plan(self, bound: Bound, sample: dict, outlines: Sequence[Outline], gold: Tensor | None) -> Plan:
        """Return the plan of a batch's chains, and log warnings about its lengths.

        Raises:
            SentenceError: if a sentence has no possible length.
        """
        longest = int(self.scorer.longest_target)
        log_p = self.scorer.cmlm.length_log_probs(bound.encoder_out)[:, : longest + 1]
        possible = torch.stack([outline.possible(lengths) for outline, lengths in zip(outlines, log_p, strict=True)])
        chains, beam = chains_of(self.cfg), self.generation.iter_decode_with_beam
        symbols = self._symbols(sample)
        plan = plan_chains(possible, chains, beam, gold, self.cfg.mh_length_reward, symbols)
        if gold is None:
            self._warn_of_left_out(possible, plan)
            self._warn_of_far(sample, symbols, log_p)
        if int(plan.lengths.max()) > longest:  # only a reference's length can be this long
            raise SentenceError(
                f"too long: the target may have at most {longest} tokens, for the sake of another model of the energy"
            )
        return plan

    def _warn_of_left_out(self, possible: Tensor, plan: Plan) -> None:
        """Log a warning, once, if a plan lacks possible lengths (B, L)."""
        beam = self.generation.iter_decode_with_beam
        asked = possible.isfinite().sum(1).clamp(max=beam)
        kept = plan.context[plan.chains.eq(0)].bincount(minlength=len(asked))
        if kept.lt(asked).any():
            self.warn_once(
                "left out",
                f"--iter-decode-with-beam {beam}: a sentence has at most {int(kept.max())} lengths here; beyond "
                f"{SURE_LENGTHS}, implausible ones are left out, and those that are more than its source has symbols",
            )

    def _symbols(self, sample: dict) -> Tensor:
        """Return the number of symbols of each source (B,), without BOS and EOS."""
        cmlm, tokens = self.scorer.cmlm, source_of(sample)[0]
        return (~torch.isin(tokens, tokens.new_tensor([cmlm.pad, cmlm.bos, cmlm.eos]))).sum(1)

    def _warn_of_far(self, sample: dict, symbols: Tensor, log_p: Tensor) -> None:
        """Log a warning, once, if the likeliest length, by log_p (B, L), is far from the source's symbols (B,)."""
        predicted = log_p.topk(1, 1).indices[:, 0]  # as in a plan, also among lengths that are equally likely
        far = (predicted >= FAR * symbols) | (symbols >= FAR * predicted)
        if far.any():
            first = int(far.nonzero()[0])
            self.warn_once(
                "far",
                f"sentence {int(sample['id'][first])} has {int(symbols[first])} symbols, but the length predicted for "
                f"its translation is {int(predicted[first])}; check that the model's prediction of lengths was "
                "trained, on text that is split into pieces as here",
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
