"""The generator of fairseq's command lines, which turns batches of sources into hypotheses.

It encodes the sources once, runs C chains at each of the K likeliest lengths, and selects hypotheses from them.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from copy import copy
from functools import partial

import torch
from fairseq import utils
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_mh.engine.linear import in_bf16_products
from fairseq_mh.errors import SentenceError
from fairseq_mh.files.trace import TraceFile, warn_of_broken
from fairseq_mh.masked_lms.dictionaries import Words, subwords
from fairseq_mh.mcmc.chain import convert_events, finish
from fairseq_mh.progress import Progress
from fairseq_mh.translation.chains.decoders import DECODERS, ChainSweep, Decoded, Decoding, Event
from fairseq_mh.translation.chains.setup import ChainSetup
from fairseq_mh.translation.fairseq_format import (
    FairseqHypothesis,
    fairseq_hypothesis,
    no_hypothesis,
    part_of,
    source_of,
)
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.given.references import References, only_scoring
from fairseq_mh.translation.halves import in_halves
from fairseq_mh.translation.options.config import TranslationMHConfig
from fairseq_mh.translation.ranking.minimum_bayes_risk import by_expected_utility, utility_of
from fairseq_mh.translation.ranking.reranking import reranked
from fairseq_mh.translation.ranking.selection import Hypothesis, best_first
from fairseq_mh.translation.scorer import Scorer

logger = logging.getLogger(__name__)
MANY = 20  # if so many sentences fail and none is translated, the model, the options or the machine are at fault


class MHGenerator:
    """Decodes a CMLM by Metropolis-Hastings, degenerate Gibbs or mask-predict.

    Args:
        scorer: the models.
        dictionary: the dictionary of the targets.
        cfg: the plugin's options.
        generation: fairseq's generation options.
        source_dictionary: the dictionary of the sources; by default, that of the targets.
        trace: the file to which the records of the chains are written, if there is one.
        sentences: the number of sentences of all batches, for the bar and the line of cost; None if it is not known.

    Raises:
        UserError: as in `utility_of`, if the options choose minimum Bayes risk.
    """

    def __init__(
        self,
        scorer: Scorer,
        dictionary: Dictionary,
        cfg: TranslationMHConfig,
        generation,
        source_dictionary: Dictionary | None = None,
        trace: TraceFile | None = None,
        sentences: int | None = None,
    ):
        cfg = only_scoring(cfg) if generation.score_reference else copy(cfg)
        self.scorer, self.cmlm, self.dictionary = scorer, scorer.cmlm, dictionary
        self.cfg, self.generation, self.trace = cfg, generation, trace
        self.references = References(self.cmlm)
        self.source_dictionary = source_dictionary or dictionary
        self.words = Words(self.source_dictionary)
        self.utility = utility_of(cfg.mh_utility) if cfg.mh_select == "mbr" else None
        self.eos = dictionary.eos()  # fairseq removes it from its output
        # Targets of published Mask-Predict models end with EOS.
        self.end = [self.eos] if self.references.allowed[self.eos] else []
        self.set_up = ChainSetup(scorer, cfg, generation, self.references, self.end)
        self.rows_spent, self.expert_rows_spent, self.translated, self.refused = 0, 0, 0, 0
        self.seconds, self.warned = 0.0, False
        self.joined = subwords(dictionary)
        self.sentences, self.bar = sentences, None  # type: int | None, Progress | None

    def generate(self, models, sample: dict, prefix_tokens=None, constraints=None) -> list[list[FairseqHypothesis]]:
        """Return hypotheses of each sentence, best first, at most `--nbest` of them.

        A sentence that cannot be decoded, because of its lengths or too little memory, gets an empty hypothesis with
        score -inf, and a warning is logged.

        Args:
            models, prefix_tokens: not used; fairseq gives them.
            sample: fairseq's batch.
            constraints: (B, L) long, phrases as fairseq packs them.

        Raises:
            UserError: as in `events`, and if none of many sentences could be decoded, or none of the whole run, except
                in `fairseq-interactive`.
        """
        if constraints is not None:
            sample = {**sample, "constraints": constraints}
        ids, hypotheses, refused, started = sample["id"].tolist(), [], [], time.perf_counter()
        for rows, decoded in self._decode_with_bar(sample):
            if isinstance(decoded, SentenceError):
                refused.append(f"sentence {ids[rows[0]]}: {decoded}")
                hypotheses.append([no_hypothesis(self.eos)])
            else:
                best = self.best(decoded, self._sources(part_of(sample, rows)))
                history = self.generation.retain_iter_history
                to_fairseq = partial(fairseq_hypothesis, decoded=decoded, cmlm=self.cmlm, with_history=history)
                hypotheses += [[to_fairseq(one) for one in found] for found in best]
        for reason in refused:
            logger.warning("not translated: %s", reason)
        self.translated += len(ids) - len(refused)
        self.refused += len(refused)
        if not self.translated and self.refused >= min(MANY, self.sentences or MANY) and not sample.get("typed"):
            raise SentenceError(refused[0])
        self.seconds += time.perf_counter() - started
        if self.translated + self.refused == self.sentences:  # printed, whatever becomes of log lines
            cost = f"{self.sentences} sentences in {self.seconds:.1f}s, decoder rows so far: {self.rows_spent}"
            print(f"fairseq-mh: Translated {cost}")
        return hypotheses

    def _decode_with_bar(self, sample: dict) -> list[tuple[Sequence[int], Decoded | SentenceError]]:
        """Decode a batch; after two seconds, show one bar on standard error for all batches.

        Returns:
            Parts of the batch, as the indices of their sentences, each with its result.
        """
        size, hidden = len(sample["id"]), self.cfg.no_progress_bar
        bar = self.bar or Progress(unit=" sentences", total=self.sentences, leave=False, delay=2, disable=hidden)
        parts = in_halves(range(size), lambda rows: self.events(part_of(sample, rows)))
        end = bar.n + size
        decoded = finish(convert_events(parts, partial(advance_bar, bar, bar.swept, bar.n, size)))
        bar.update(end - bar.n)
        if end < (self.sentences or 0):
            self.bar = bar
            bar.clear()  # fairseq prints the translations next
        else:
            bar.close()
            self.bar = None
        return decoded

    def _sources(self, sample: dict) -> list[str]:
        """Return the texts of a batch's sources; empty ones if no utility reads them."""
        if not self.utility:
            return [""] * len(sample["id"])
        lines = [utils.strip_pad(line, self.source_dictionary.pad()) for line in source_of(sample)[0]]
        return [self.source_dictionary.string(line, self.joined) for line in lines]

    @torch.no_grad()
    def events(self, sample: dict, outlines: Sequence[Outline] | None = None, with_energies: bool = False) -> Decoding:
        """Decode a batch.

        The random streams of each sentence are keyed by `sample["id"]`, so that its translations do not depend on its
        batch.

        Args:
            sample: fairseq's batch.
            outlines: the given parts of each target; by default, the parts that the options give.
            with_energies: whether to evaluate mask-predict's translations even without --mh-energy and --mh-trace.

        Yields:
            The events of the decoder.

        Returns:
            All hypotheses, and the record of the chains.

        Raises:
            SentenceError: if a sentence of the batch cannot be decoded.
            UserError: if a reference that the options need is missing, empty or longer than the model's targets.
        """
        return (yield from in_bf16_products(self._events(sample, outlines, with_energies), self.scorer.in_bf16))

    def _events(self, sample: dict, outlines: Sequence[Outline] | None, with_energies: bool) -> Decoding:
        source = source_of(sample)
        self._warn_of_unknown(source[0], sample["id"].tolist())
        bound = self.scorer.bind(source)
        evaluated = with_energies or bool(self.cfg.mh_energy or self.trace)
        start = self.set_up(bound, sample, outlines)._replace(evaluated=evaluated)
        decoded = yield from DECODERS[str(self.cfg.mh_decoding)](start, self.cfg)
        if reranker := self.scorer.reranker:
            decoded = reranked(decoded, start.lm, reranker.bind(bound.encoder_out, source))
        self._report(decoded, sample["id"].tolist())
        return decoded

    def best(self, decoded: Decoded, sources: Sequence[str]) -> list[list[Hypothesis]]:
        """Return each sentence's hypotheses of distinct texts, best first, at most `--nbest` of them.

        Args:
            decoded: the batch.
            sources: the texts of its sources.
        """
        ranked = [self._distinct(best) for best in best_first(decoded.found, len(sources), decoded.plan)]
        if self.utility:
            weigh = partial(by_expected_utility, text=self._text, utility=self.utility, beta=self.cfg.mh_mbr_beta)
            ranked = [weigh(best, source=source) for best, source in zip(ranked, sources, strict=True)]
        return [best[: self.generation.nbest] for best in ranked]

    def _distinct(self, ranked: list[Hypothesis]) -> list[Hypothesis]:
        """Keep the first hypothesis of each text; several segmentations can have the same text."""
        kept: dict[str, Hypothesis] = {}
        for one in ranked:
            kept.setdefault(self._text(one), one)
        return list(kept.values())

    def _warn_of_unknown(self, source: Tensor, ids: Sequence[int]) -> None:
        """Log a warning, once, if most words or symbols of one of the sources (B, S) are unknown."""
        if self.warned:
            return
        for number, counts in zip(ids, zip(*self.words.counts(source.cpu()), strict=True), strict=True):
            words, unknown_words, symbols, unknown = map(int, counts)
            if 2 * unknown_words > words or 2 * unknown > symbols:
                self.warned = True
                return logger.warning(
                    "sentence %d: %d of %d words and %d of %d source symbols are unknown; check that the text is in "
                    "the model's language and split into its pieces (--bpe), and that the dictionary is that of the "
                    "model's training (other such sentences are not named)",
                    *(number, unknown_words, words, unknown, symbols),
                )

    def _text(self, found: Hypothesis) -> str:
        """Return the text of a hypothesis, with subword pieces joined."""
        return self.dictionary.string(found.tokens, self.joined)

    def _report(self, decoded: Decoded, ids: list[int]) -> None:
        """Write the records of a batch to the trace, and log its cost."""
        if self.trace:
            self.trace.write(decoded.records(ids))
        self.rows_spent += int(decoded.cost.rows.sum())
        self.expert_rows_spent += int(decoded.cost.expert_rows.sum())
        warn_of_broken(decoded.sweeps)
        experts = f", of experts: {self.expert_rows_spent}" if self.expert_rows_spent else ""
        logger.info(
            "%d sentences, %d chains, decoder rows so far: %d%s",
            *(len(ids), len(decoded.plan.context), self.rows_spent, experts),
        )


def advance_bar(bar: Progress, swept: int, begun: int, size: int, event: Event) -> Iterable[Event]:
    """Advance a bar if the event is the end of a sweep other than sweep 0; yield nothing.

    Args:
        bar: counts sentences; those of a batch count in proportion to its sweeps that have ended.
        swept, begun: the sweeps and the sentences before the batch.
        size: the sentences of the batch.
        event: of the batch.
    """
    if isinstance(event, ChainSweep) and event.ended.number:
        bar.sweep()
        done = begun + size * min(1, (bar.swept - swept) / event.total)
        bar.update(max(0, int(done) - bar.n))
    return ()
