"""The generator that `fairseq-generate` and `fairseq-interactive` call: sources in, hypotheses out.

It encodes the sources once, runs C chains at each of the K likeliest lengths, and selects hypotheses from them.
"""

import logging
import sys
from collections.abc import Sequence
from copy import copy
from functools import partial
from pathlib import Path

import torch
from fairseq import utils
from fairseq.data import Dictionary
from torch import Tensor
from tqdm import tqdm

from fairseq_mh.energies.electric import Electric
from fairseq_mh.energies.experts import Expert
from fairseq_mh.errors import SentenceError, begun
from fairseq_mh.files.trace import open_trace, warn_of_broken, write_trace
from fairseq_mh.masked_lms.cmlm import CMLM
from fairseq_mh.masked_lms.dictionaries import subwords
from fairseq_mh.translation.chains.beginning import Beginning
from fairseq_mh.translation.chains.decoders import DECODERS, Decoded
from fairseq_mh.translation.chains.starts import Observer, PassObserver, Progress
from fairseq_mh.translation.fairseq_format import (
    FairseqHypothesis,
    fairseq_hypothesis,
    no_hypothesis,
    part_of,
    source_of,
)
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.given.references import References, scoring_alone
from fairseq_mh.translation.halves import in_halves
from fairseq_mh.translation.options.config import TranslationMHConfig, energy_name
from fairseq_mh.translation.ranking.minimum_bayes_risk import by_expected_utility
from fairseq_mh.translation.ranking.reranking import reranked
from fairseq_mh.translation.ranking.selection import Hypothesis, best_first
from fairseq_mh.translation.ranking.utilities import utility_of

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 5  # of progress, where standard error is no terminal


class MHGenerator:
    """Decodes a CMLM by Metropolis-Hastings, degenerate Gibbs or mask-predict.

    Args:
        cmlm: its model in eval mode.
        generation: fairseq's generation options, of which `iter_decode_with_beam` (lengths a sentence),
            `iter_decode_max_iter` (refinements of mask-predict), `nbest` and `retain_iter_history` are read.
        electric: where the options ask for one.
        experts: whose energies are further terms.
        source_dictionary: the targets' unless given.
        reranker: an autoregressive model, by whose log-probability a token hypotheses are ordered.

    Raises:
        UserError: for an unknown utility, and where the trace cannot be written.
    """

    def __init__(
        self,
        cmlm: CMLM,
        dictionary: Dictionary,
        cfg: TranslationMHConfig,
        generation,
        electric: Electric | None = None,
        experts: Sequence[Expert] = (),
        source_dictionary: Dictionary | None = None,
        reranker: Expert | None = None,
    ):
        cfg = scoring_alone(cfg) if generation.score_reference else copy(cfg)
        cfg.mh_energy = energy_name(cfg, cmlm.has_two_streams)  # type: ignore[assignment]
        self.cmlm, self.dictionary, self.cfg, self.generation = cmlm, dictionary, cfg, generation
        self.electric, self.experts, self.reranker = electric, experts, reranker
        self.references = References(cmlm)
        self.source_dictionary = source_dictionary or dictionary
        self.utility = utility_of(cfg.mh_utility) if cfg.mh_select == "mbr" else None
        self.eos = dictionary.eos()  # fairseq asks for it, to leave it out of its output
        self.end = [self.eos] if self.references.allowed[self.eos] else []  # what targets end with: Mask-Predict's do
        longest = min([cmlm.longest, *(one.longest_target for one in self._others())])
        self.begin = Beginning(cmlm, cfg, generation, self.references, electric, experts, longest, self.end)
        self.trace = open_trace(cfg.mh_trace) if cfg.mh_trace else None
        if self.trace:
            begun.add(Path(self.trace.name))
        self.rows_spent, self.expert_rows_spent, self.translated = 0, 0, 0
        self.warned = False
        self.joined = subwords(dictionary)

    def generate(self, models, sample: dict, prefix_tokens=None, constraints=None) -> list[list[FairseqHypothesis]]:
        """Return hypotheses of each sentence, best first, at most `--nbest` of them.

        Args:
            constraints: (B, L) long, phrases as fairseq packs them.

        A sentence of the batch that cannot be decoded, because of its lengths or of too little memory, has an empty one
        of score minus infinity, and a warning says why.

        Raises:
            UserError: as `decode`, and where no sentence of the batch can be decoded, nor could any before it, and they
                are not lines that somebody types.
        """
        if constraints is not None:
            sample = {**sample, "constraints": constraints}
        ids, hypotheses, refused = sample["id"].tolist(), [], []
        with self._bar() as bar:
            progress = partial(advance_bar, bar)
            parts = list(in_halves(range(len(ids)), lambda rows: self.decode(part_of(sample, rows), progress)))
        for rows, decoded in parts:
            if isinstance(decoded, str):
                refused.append(f"sentence {ids[rows[0]]}: {decoded}")
                hypotheses.append([no_hypothesis(self.eos)])
            else:
                best = self.best(decoded, self._sources(part_of(sample, rows)))
                history = self.generation.retain_iter_history
                to_fairseq = partial(fairseq_hypothesis, decoded=decoded, cmlm=self.cmlm, with_history=history)
                hypotheses += [[to_fairseq(one) for one in found] for found in best]
        self.translated += len(ids) - len(refused)
        if not self.translated and not sample.get("typed"):
            raise SentenceError(refused[0])
        for reason in refused:
            logger.warning("not translated: %s", reason)
        return hypotheses

    def _sources(self, sample: dict) -> list[str]:
        """Return the texts of a batch's sources, which utilities alone read."""
        if not self.utility:
            return [""] * len(sample["id"])
        lines = [utils.strip_pad(line, self.source_dictionary.pad()) for line in source_of(sample)[0]]
        return [self.source_dictionary.string(line, self.joined) for line in lines]

    def _bar(self) -> tqdm:
        """Return a bar on standard error that counts the sweeps of a batch that takes more than two seconds."""
        slow = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
        hidden = self.cfg.no_progress_bar
        return tqdm(unit=" sweeps", leave=False, delay=2, mininterval=slow, maxinterval=slow, disable=hidden)

    def _others(self) -> list[Expert]:
        """Return all models that read what the CMLM reads and writes."""
        return [*self.experts, self.reranker] if self.reranker else list(self.experts)

    @torch.no_grad()
    def decode(
        self,
        sample: dict,
        progress: Progress | None = None,
        outlines: Sequence[Outline] | None = None,
        observer: Observer | None = None,
        pass_observer: PassObserver | None = None,
    ) -> Decoded:
        """Decode a batch, and return all that was found.

        `sample["id"]` keys each sentence's randomness, so that its translations do not depend on its batch. What
        `progress` or `observer` raise ends the decoding.

        Args:
            sample: fairseq's batch.
            progress: is told of the sweeps that end.
            outlines: what is given of each target; what the options say unless given.
            observer: is shown every sweep of every chain that ends.
            pass_observer: is shown every filling and masking of mask-predict, where that is the decoder.

        Raises:
            UserError: where a reference is needed and missing, empty, or longer than the model's targets.
        """
        source = source_of(sample)
        self._warn_of_unknown(source[0])
        for expert in self._others():
            if int(source[1].max()) > expert.longest_source:  # a half of a batch is padded as the whole was
                raise SentenceError(f"too long: an expert reads {expert.longest_source} symbols")
        encoder_out = self.cmlm.model.forward_encoder(source)
        start = self.begin(encoder_out, sample, source, outlines)
        start = start._replace(progress=progress, observer=observer, pass_observer=pass_observer)
        decoded = DECODERS[str(self.cfg.mh_decoding)](start, self.cfg)
        if self.reranker:
            decoded = reranked(decoded, start.lm, self.reranker.bind(encoder_out, source))
        self._report(decoded, sample["id"].tolist())
        return decoded

    def best(self, decoded: Decoded, sources: Sequence[str]) -> list[list[Hypothesis]]:
        """Return each sentence's hypotheses of distinct texts, best first, at most `--nbest` of them.

        Args:
            decoded: the batch.
            sources: the texts of its sentences.
        """
        ranked = [self._distinct(best) for best in best_first(decoded.found, len(sources), decoded.plan)]
        if self.utility:
            weigh = partial(by_expected_utility, text=self._text, utility=self.utility, beta=self.cfg.mh_mbr_beta)
            ranked = [weigh(best, source=source) for best, source in zip(ranked, sources, strict=True)]
        return [best[: self.generation.nbest] for best in ranked]

    def _distinct(self, ranked: list[Hypothesis]) -> list[Hypothesis]:
        """Return the first hypotheses of different texts: a text can be cut into pieces in several ways."""
        kept: dict[str, Hypothesis] = {}
        for one in ranked:
            kept.setdefault(self._text(one), one)
        return list(kept.values())

    def _warn_of_unknown(self, source: Tensor) -> None:
        """Warn once where most symbols of the sources (B, S) are unknown."""
        symbols = source >= self.dictionary.unk()  # BOS, padding and EOS come before it in every dictionary
        unknown = source == self.dictionary.unk()
        if not self.warned and 2 * unknown.sum() > symbols.sum():
            self.warned = True
            logger.warning(
                "%d of %d source symbols are unknown: is the text cut into the model's pieces (--bpe), and is the "
                "dictionary the one that the model was trained with?",
                *(unknown.sum(), symbols.sum()),
            )

    def _text(self, found: Hypothesis) -> str:
        """Return the words of a hypothesis, pieces joined as the dictionary's look."""
        return self.dictionary.string(found.tokens, self.joined)

    def _report(self, decoded: Decoded, ids: list[int]) -> None:
        """Write the batch to the trace, and log what it cost."""
        plan = decoded.plan
        if self.trace:
            begun.discard(Path(self.trace.name))
            sentences = [ids[sentence] for sentence in plan.context.tolist()]
            write_trace(
                self.trace,
                decoded.sweeps,
                decoded.energy,
                sentences,
                plan.lengths.tolist(),
                plan.chains.tolist(),
            )
        self.rows_spent += int(decoded.rows.sum())
        self.expert_rows_spent += int(decoded.expert_rows.sum())
        warn_of_broken(decoded.sweeps)
        experts = f", of experts: {self.expert_rows_spent}" if self.expert_rows_spent else ""
        logger.info(
            "%d sentences, %d chains, decoder rows so far: %d%s",
            *(len(ids), len(plan.context), self.rows_spent, experts),
        )


def advance_bar(bar: tqdm, ended: int, total: int) -> None:
    """Move a bar by the sweeps that have ended, of those of the batch: a `Progress` for it."""
    bar.total = total
    bar.update(ended)
