"""Translate from Python: a model is loaded once, and decoding options are given by their names.

translator = Translator.load("models/libreoffice-de-en")
translator.translate(["Öffnen Sie das Menü."])
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from fairseq_mh.errors import UserError, one_line
from fairseq_mh.loading import arguments_of, load_checkpoint, parse_generate_options, to_device, with_pieces
from fairseq_mh.translation.alternatives import Alternative, alternatives
from fairseq_mh.translation.chains.decoders import Decoded
from fairseq_mh.translation.chains.starts import Progress
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.given.outline import Outline
from fairseq_mh.translation.given.templates import Template, outlines_of_phrases, outlines_of_templates
from fairseq_mh.translation.halves import in_halves
from fairseq_mh.translation.lines import Line, LineReader, in_batches
from fairseq_mh.translation.options.config import translation_schedule
from fairseq_mh.translation.ranking.selection import Hypothesis, draws, hypotheses
from fairseq_mh.translation.results import (
    BatchResults,
    FillObserver,
    RecordObserver,
    SentenceResult,
    fillings_to,
    records_to,
)


class Watching(NamedTuple):
    """Who is told of a decoding while it goes on."""

    progress: Progress | None
    observer: RecordObserver | None
    fill_observer: FillObserver | None


class Translator:
    """A model with its dictionaries and pieces, that translates.

    Args:
        data: fairseq's data folder.
        arguments: options of `fairseq-generate` and of the plugin, as on a command line.

    Raises:
        UserError: for options that mean nothing, and where the model, or what cuts text into pieces, cannot be loaded.
    """

    def __init__(self, data: str, arguments: Sequence[str] = ()):
        self.data, self.arguments = data, list(arguments)
        self.cfg = parse_generate_options(data, self.arguments)
        self.task, self.models = load_checkpoint(self.cfg)
        self.model = self.models[0]
        self.generator = self.task.build_generator(self.models, self.cfg.generation)
        try:
            self.task.build_tokenizer(self.cfg.tokenizer)
            self.task.build_bpe(self.cfg.bpe)
        except Exception as error:  # of libraries and files of many kinds
            raise UserError(f"--tokenizer or --bpe cannot be loaded: {one_line(error)}") from None
        self.reader = LineReader(self.task, self.model)

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> "Translator":
        """Load a data folder with its checkpoint (`checkpoint.pt`) and pieces (`spm.model`, where it has them).

        Args:
            folder: fairseq's data folder: two dictionaries, and binarised files or `source_lang` and `target_lang`.
            options: decoding options by their names, the plugin's without `mh_` (`sweeps=12`, `preset="fast"`), and
                fairseq's (`path`, `sentencepiece_model`, `iter_decode_with_beam`, `cpu`, ...).

        Raises:
            UserError: for an option that there is not, and for files that cannot be used.
        """
        return cls(str(folder), with_pieces(str(folder), arguments_of(options)))

    def translate(self, texts: Sequence[str], **options: Any) -> list[str]:
        """Return the best translation of each text; an empty one where a text cannot be translated.

        Args:
            options: as for `decode`.
        """
        best = (result.translations for result in self.decode(texts, trace=False, **options))
        return [found[0].text if found else "" for found in best]

    def decode(
        self,
        texts: Sequence[str],
        *,
        numbers: Sequence[int] | None = None,
        samples: bool = False,
        trace: bool = True,
        progress: Progress | None = None,
        template: Template | Sequence[Template] | None = None,
        phrases: Sequence[Sequence[str]] | None = None,
        observer: RecordObserver | None = None,
        fill_observer: FillObserver | None = None,
        **options: Any,
    ) -> list[SentenceResult]:
        """Decode texts, and return what was found of each.

        A text that holds nothing, more than the model reads or memory holds, or for which the model has no lengths,
        gets a result that says so, without translations.

        Args:
            numbers: key the randomness of each text's chains, as line numbers do; 0, 1, ... unless given.
            samples: whether to return the state at the end of every sweep that counts (`burn_in`, `thin`).
            trace: whether to return the records of `--mh-trace`.
            progress: is called with the number of sweeps that ended since the last call, and of those of the batch.
            template: what is given of the translations, or of each text's: `Click {2} to {}.` holds all but a blank of
                two tokens and one of any number. An `Outline` says the same by tokens.
            phrases: of each text, what its translations must hold, anywhere; in the order given with
                `constraints="ordered"`.
            observer: is called with each sweep of each chain when it has ended, the start (sweep 0) first: with its
                record of `--mh-trace`, and its tokens' log-probabilities (T,) as in `Translation`.
            fill_observer: is called after each filling and each masking of mask-predict, where that is the decoder:
                with a record's `id`, `length` and `chain`, the tokens (T,), and which of them are masked (T,). What
                `progress` or an observer raise ends the decoding.
            options: for this call, as for `load` (`nbest=3`, `chains=5`); those of the model itself (`path`, `cpu`,
                ...) are fixed by then.

        Raises:
            UserError: for options that mean nothing, and a template that the model has no pieces for.
        """
        with self._using(options):
            watching = Watching(progress, observer, fill_observer)
            given = len(texts), self.task, self.generator.end
            if phrases is None:
                outlines = outlines_of_templates(template, *given)
            elif template is None:
                outlines = outlines_of_phrases(phrases, *given)
            else:
                raise UserError("phrases are given for each text, and without a template")
            return self._decoded(texts, outlines, numbers or range(len(texts)), samples, trace, watching)

    def alternatives(
        self, text: str, tokens: Tensor, position: int, *, count: int = 8, **options: Any
    ) -> list[Alternative]:
        """Return the likeliest symbols at a position of a translation, and the translation's energies with them.

        Args:
            text: the source.
            tokens: (T,) long, of the translation.
            position: from 0.
            count: how many; the symbol that stands there comes on top of them where it is not one of them.
            options: as for `decode`; they say which energy.

        Raises:
            UserError: for a text that cannot be translated, tokens that are no state, and a position outside them.
        """
        with self._using(options):
            line = Line(0, 0, self.reader.tokens(text), None)
            if reason := self.reader.refusal(line.tokens):
                raise UserError(f"the source is {reason}")
            return alternatives(self.generator, source_of(self._sample([line])), tokens, position, count)

    def for_thread(self) -> "Translator":
        """Return a translator of the same model for another thread, whose options of a call are its own."""
        other = copy.copy(self)
        other.task = copy.copy(self.task)
        return other

    @contextmanager
    def _using(self, options: dict[str, Any]) -> Iterator[None]:
        kept = self.cfg, self.task.cfg, self.generator
        try:
            if options:
                self._set_options(options)
            yield
        finally:
            self.cfg, self.task.cfg, self.generator = kept

    def _set_options(self, options: dict[str, Any]) -> None:
        cfg = parse_generate_options(self.data, [*self.arguments, *arguments_of(options)])
        self.task.cfg = cfg.task
        self.generator = self.task.build_generator(self.models, cfg.generation)
        self.cfg = cfg

    def _decoded(
        self,
        texts: Sequence[str],
        outlines: Sequence[Outline | None],
        numbers: Iterable[int],
        samples: bool,
        trace: bool,
        watching: Watching,
    ) -> list[SentenceResult]:
        lines = [
            Line(place, number, self.reader.tokens(texts[place]), outlines[place])
            for place, number in enumerate(numbers)
        ]
        results: dict[int, SentenceResult] = {}
        readable = []
        for line in lines:
            if reason := self.reader.refusal(line.tokens):
                results[line.place] = SentenceResult(texts[line.place], untranslated=reason)
            else:
                readable.append(line)
        for batch in in_batches(readable, self.cfg.dataset.max_tokens, self.cfg.dataset.batch_size):
            for part, decoded in in_halves(batch, lambda lines: self._decode_batch(lines, watching)):
                sources = [texts[line.place] for line in part]
                if isinstance(decoded, str):  # why this line could not be decoded
                    symbols, unknown = part[0].symbols, self.reader.unknown(part[0])
                    found = [SentenceResult(sources[0], untranslated=decoded, symbols=symbols, unknown=unknown)]
                else:
                    found = self._results(sources, part, decoded, samples, trace)
                results |= {line.place: result for line, result in zip(part, found, strict=True)}
        return [results[place] for place in range(len(lines))]

    def _results(
        self, sources: list[str], lines: Sequence[Line], decoded: Decoded, samples: bool, trace: bool
    ) -> list[SentenceResult]:
        """Return what was found of each sentence of a batch."""
        found = BatchResults(decoded, self.text)
        best, drawn = self.generator.best(decoded, sources), self._drawn(decoded, len(lines), samples)
        return [
            SentenceResult(
                source,
                translations=[found.translation(one) for one in best[n]],
                samples=[found.translation(one) for one in drawn[n]],
                rows=found.rows(n),
                expert_rows=found.expert_rows(n),
                broken=found.broken(n),
                trace=found.trace(n, line.number) if trace else [],
                symbols=line.symbols,
                unknown=self.reader.unknown(line),
            )
            for n, (source, line) in enumerate(zip(sources, lines, strict=True))
        ]

    def _drawn(self, decoded: Decoded, sentences: int, samples: bool) -> list[list[Hypothesis]]:
        """Return each sentence's states at the ends of the sweeps that count, a repeated one as often as it occurs."""
        drawn: list[list[Hypothesis]] = [[] for _ in range(sentences)]
        if samples:
            cfg, context = self.task.cfg, decoded.plan.context.tolist()
            ends = draws(decoded.sweeps, translation_schedule(cfg))
            for one in hypotheses(ends, decoded.plan, decoded.energy, str(cfg.mh_length_select)):
                drawn[context[one.chain]].append(one)
        return drawn

    def text(self, tokens: Tensor) -> str:
        """Return the words of a target's tokens (T,) long."""
        dictionary = self.task.target_dictionary
        text = dictionary.string(tokens, self.cfg.common_eval.post_process, extra_symbols_to_ignore={dictionary.eos()})
        for cutter in reversed(self.task.cutters):
            text = cutter.decode(text)
        return text

    def _decode_batch(self, batch: Sequence[Line], watching: Watching) -> Decoded:
        numbers = [line.number for line in batch]
        observer = watching.observer and records_to(watching.observer, numbers)
        pass_observer = watching.fill_observer and fillings_to(watching.fill_observer, numbers)
        outlines = [line.outline for line in batch if line.outline]  # of all lines, or of none
        return self.generator.decode(self._sample(batch), watching.progress, outlines, observer, pass_observer)

    def _sample(self, batch: Sequence[Line]) -> dict:
        """Return a batch as the generator reads it, on the model's device."""
        return to_device(self.model, self.reader.sample(batch))
