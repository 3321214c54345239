"""From a batch to the start of its chains: what is given of the targets, their lengths, and each chain's randomness."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_mh.energies.electric import Electric
from fairseq_mh.energies.experts import Expert
from fairseq_mh.energies.target import translation_energy
from fairseq_mh.errors import SentenceError, UserError
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.mcmc.chain import chain_stream
from fairseq_mh.mcmc.moves.phrases import Relocation
from fairseq_mh.translation.chains.plan import lay_out, plan_chains
from fairseq_mh.translation.chains.starts import Start
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.given.phrases import phrases_of, place
from fairseq_mh.translation.given.references import References, needs_lengths
from fairseq_mh.translation.options.config import TranslationMHConfig, chains_of


class Beginning:
    """Begins batches.

    Args:
        cmlm: its model in eval mode.
        cfg: the plugin's options.
        generation: fairseq's generation options.
        references: of the batches.
        electric: where the options ask for one.
        experts: whose energies are further terms.
        longest: the most tokens that a target of all models may hold.
        end: what every target ends with.
    """

    def __init__(
        self,
        cmlm: CMLM,
        cfg: TranslationMHConfig,
        generation: Any,
        references: References,
        electric: Electric | None,
        experts: Sequence[Expert],
        longest: int,
        end: list[int],
    ):
        self.cmlm, self.cfg, self.generation, self.references = cmlm, cfg, generation, references
        self.electric, self.experts, self.longest, self.end = electric, experts, longest, end

    def __call__(
        self, encoder_out: dict, sample: dict, source: tuple[Tensor, Tensor], outlines: Sequence[Outline] | None
    ) -> Start:
        """Return the start of a batch of B sentences.

        Args:
            encoder_out: fairseq's, of the sources.
            sample: fairseq's batch.
            source: the tokens (B, S) long and lengths (B,) long.
            outlines: what is given of each target; what the options say unless given.

        Raises:
            SentenceError: where a target cannot be as it is asked for.
            UserError: as of `References` and `phrases_of`, and where two things say what is given.
        """
        lm = self.cmlm.bind(encoder_out)
        reference = self.references(sample) if needs_lengths(self.cfg) else None
        gold = None if reference is None else reference.ne(lm.pad).sum(1)
        if outlines and (self.generation.prefix_size or self.generation.score_reference):
            raise UserError("a template and --prefix-size or --score-reference exclude each other")
        outlines = outlines or self._outlines(sample)
        self._check(outlines, gold)
        log_p = zip(outlines, self._log_p_lengths(encoder_out), strict=True)
        plan = plan_chains(
            torch.stack([outline.possible(lengths) for outline, lengths in log_p]),
            chains_of(self.cfg),
            self.generation.iter_decode_with_beam,
            gold,
            self.cfg.mh_length_reward,
        )
        if int(plan.lengths.max()) > self.longest:  # a length that was given, and not predicted
            raise SentenceError(f"too long: the targets of an expert hold {self.longest} tokens")
        ids = sample["id"].tolist()
        keys = zip(plan.context.tolist(), plan.lengths.tolist(), plan.chains.tolist(), strict=True)
        streams = [chain_stream(self.cfg.seed, ids[sentence], length, chain) for sentence, length, chain in keys]
        blank, held = lay_out(plan, outlines, streams, lm.mask, lm.pad)
        phrases = [outlines[sentence].phrases for sentence in plan.context.tolist()]
        relocation = Relocation(ordered=self.generation.constraints == "ordered") if any(phrases) else None
        placed = place(lm, blank, held, plan.context, phrases, bool(relocation and relocation.ordered))
        return Start(
            lm=lm,
            plan=plan,
            blank=placed.blank,
            held=placed.held,
            passes=self.generation.iter_decode_max_iter + 1,
            streams=streams,
            reference=reference,
            energy=translation_energy(self.cfg, lm, encoder_out, source, self.electric, self.experts),
            relocation=relocation,
            spent=placed.rows,
        )

    def _outlines(self, sample: dict) -> list[Outline]:
        """Return what the options give of each target."""
        outlines = self.references.outlines(sample, self.generation)
        return [
            Outline([*one.parts, *self.end], phrases) if phrases else one
            for one, phrases in zip(outlines, phrases_of(sample, self.generation), strict=True)
        ]

    def _check(self, outlines: Sequence[Outline], gold: Tensor | None) -> None:
        """Raise SentenceError where what is given is no target's, or longer than the target's given length (B,)."""
        lengths = [math.inf] * len(outlines) if gold is None else gold.tolist()
        for outline, length in zip(outlines, lengths, strict=True):
            outline.check(self.references.allowed)
            if outline.fewest > length:
                raise SentenceError(f"what is given has {outline.fewest} tokens, and the reference {length}")

    def _log_p_lengths(self, encoder_out: dict) -> Tensor:
        """Return the log-probabilities (B, L) by which lengths are chosen."""
        log_p = self.cmlm.length_log_probs(encoder_out)
        log_p[:, self.longest + 1 :] = -math.inf
        return log_p + self.cfg.mh_length_bias * torch.arange(log_p.size(1), device=log_p.device)
