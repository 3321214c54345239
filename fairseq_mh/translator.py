"""Translate from Python: a model is loaded once, and decoding options are given by their names.

translator = Translator.load("models/libreoffice-de-en")
translator.translate(["Öffnen Sie das Menü."])
"""

import copy
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from fairseq_mh.errors import UserError, one_line
from fairseq_mh.loading import arguments_of, load_checkpoint, parse_generate_options, to_device, with_pieces
from fairseq_mh.mcmc.chain import convert_events
from fairseq_mh.translation.alternatives import Alternative, alternatives
from fairseq_mh.translation.chains.decoders import Decoded
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.given.outline import Outline, Template, outlines_of_templates
from fairseq_mh.translation.given.phrases import outlines_of_phrases
from fairseq_mh.translation.halves import Refused, in_halves
from fairseq_mh.translation.lines import Line, LineReader, in_batches
from fairseq_mh.translation.options.config import translation_schedule
from fairseq_mh.translation.ranking.selection import Hypothesis, draws, hypotheses
from fairseq_mh.translation.results import BatchResults, PassRecord, SentenceResult, SweepRecord, event_records

KEPT_OPTIONS = 16  # sets of options of calls whose generators are kept


class Found(NamedTuple):
    """The result of a text, when its batch has been decoded.

    Attributes:
        place: the index of the text among those given.
        result: what was found.
    """

    place: int
    result: SentenceResult


class Setting(NamedTuple):
    """A set of options, and the generator that decodes with it."""

    cfg: Any
    generator: MHGenerator


class Translator:
    """A model with its dictionaries and pieces, that translates.

    Args:
        data: fairseq's data folder.
        arguments: options of `fairseq-generate` and of the plugin, as on a command line.

    Raises:
        UserError: for options that mean nothing, and if the model, or what cuts text into pieces, cannot be loaded.
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
        except Exception as error:  # libraries and files fail in many ways
            raise UserError(f"--tokenizer or --bpe cannot be loaded: {one_line(error)}") from None
        self.reader = LineReader(self.task, self.model)
        self._settings: dict[tuple[str, ...], Setting] = {(): Setting(self.cfg, self.generator)}

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> "Translator":
        """Load a data folder with its checkpoint (`checkpoint.pt`) and pieces (`spm.model`, if it has them).

        Args:
            folder: fairseq's data folder: two dictionaries, and binarised files or `source_lang` and `target_lang`.
            options: decoding options by their names, the plugin's without `mh_` (`sweeps=12`, `preset="fast"`), and
                fairseq's (`path`, `sentencepiece_model`, `iter_decode_with_beam`, `cpu`, ...).

        Raises:
            UserError: for an unknown option, and for files that cannot be used.
        """
        return cls(str(folder), with_pieces(str(folder), arguments_of(options)))

    def translate(self, texts: Sequence[str], **options: Any) -> list[str]:
        """Translate texts.

        Args:
            texts: the sources.
            options: as for `decode`.

        Returns:
            The best translation of each text; an empty one if a text cannot be translated.

        Raises:
            UserError: as in `decode`.
        """
        best = (result.translations for result in self.decode(texts, trace=False, **options))
        return [found[0].text if found else "" for found in best]

    def decode(self, texts: Sequence[str], **settings: Any) -> list[SentenceResult]:
        """Decode texts, and return everything that was found.

        A text that is empty, or longer than the model or the memory allows, or for which the model has no lengths, gets
        a result that says so, without translations.

        Args:
            texts: the sources.
            settings: the keyword arguments of `watch`, options among them (`nbest=3`, `chains=5`).

        Returns:
            The result of each text, in their order.

        Raises:
            UserError: as in `watch`.
        """
        found = {one.place: one.result for one in self.watch(texts, **settings) if isinstance(one, Found)}
        return [found[place] for place in range(len(texts))]

    def watch(
        self,
        texts: Sequence[str],
        *,
        numbers: Sequence[int] | None = None,
        samples: bool = False,
        trace: bool = True,
        template: Template | Sequence[Template] | None = None,
        phrases: Sequence[Sequence[str]] | None = None,
        **options: Any,
    ) -> Iterator[SweepRecord | PassRecord | Found]:
        """Decode texts, and yield what happens: ended sweeps, passes of mask-predict, and results.

        Every sweep of every chain is yielded when it has ended, the start (sweep 0) first; the result of a text is
        yielded when its batch has been decoded. A loop that is left ends the decoding.

        Args:
            texts: the sources.
            numbers: key the random streams of each text's chains, as line numbers do; 0, 1, ... unless given.
            samples: whether results hold the state at the end of every sweep from burn-in on.
            trace: whether results hold the records of `--mh-trace`.
            template: the given part of all translations, or of each: `Click {2} to {}.` holds everything but a blank of
                two tokens and one of any number. An `Outline` gives the same by tokens.
            phrases: for each text, phrases that its translations must hold, anywhere; in the order given with
                `constraints="ordered"`.
            options: for this call, as for `load` (`nbest=3`, `chains=5`); those of the model itself (`path`, `cpu`,
                ...) cannot be changed any more.

        Yields:
            `SweepRecord`, `PassRecord` and `Found`.

        Raises:
            UserError: for options that mean nothing, and for a template that the model has no pieces for.
        """
        one = self._set(options)
        given = len(texts), one.task, one.generator.end
        if phrases is None:
            outlines = outlines_of_templates(template, *given)
        elif template is None:
            outlines = outlines_of_phrases(phrases, *given)
        else:
            raise UserError("phrases cannot be combined with a template; give one of them")
        return one._watched(texts, outlines, numbers or range(len(texts)), samples, trace)

    def alternatives(
        self, text: str, tokens: Tensor, position: int, *, count: int = 8, **options: Any
    ) -> list[Alternative]:
        """Return the likeliest symbols at a position of a translation, and the translation's energies with them.

        Args:
            text: the source.
            tokens: (T,) long, of the translation.
            position: from 0.
            count: how many; the current symbol is added if it is not one of them.
            options: as for `decode`; they say which energy.

        Raises:
            UserError: for a text that cannot be translated, tokens that are no state, and a position outside them.
        """
        generator = self._set(options).generator
        line = Line(0, 0, self.reader.tokens(text), None)
        if reason := self.reader.refusal(line.tokens):
            raise UserError(f"the source is {reason}")
        return alternatives(generator.scorer, source_of(self._sample([line])), tokens, position, count)

    def _set(self, options: Mapping[str, Any]) -> "Translator":
        """Return this translator with other options; each set of options is parsed once."""
        arguments = tuple(arguments_of(options))
        if arguments not in self._settings:
            cfg = parse_generate_options(self.data, [*self.arguments, *arguments])
            task = copy.copy(self.task)
            task.cfg = cfg.task
            while len(self._settings) >= KEPT_OPTIONS:
                self._settings.pop(next(key for key in list(self._settings) if key), None)
            self._settings[arguments] = Setting(cfg, task.build_generator(self.models, cfg.generation))
        other = copy.copy(self)
        other.task = copy.copy(self.task)
        other.cfg, other.generator = self._settings[arguments]
        other.task.cfg = other.cfg.task
        return other

    def _watched(
        self,
        texts: Sequence[str],
        outlines: Sequence[Outline | None],
        numbers: Iterable[int],
        samples: bool,
        trace: bool,
    ) -> Iterator[SweepRecord | PassRecord | Found]:
        readable = []
        for place, number in enumerate(numbers):
            line = Line(place, number, self.reader.tokens(texts[place]), outlines[place])
            if reason := self.reader.refusal(line.tokens):
                yield Found(place, SentenceResult(texts[place], untranslated=reason))
            else:
                readable.append(line)
        for batch in in_batches(readable, self.cfg.dataset.max_tokens, self.cfg.dataset.batch_size):
            for part, decoded in (yield from in_halves(batch, partial(self._decode_batch, with_energies=trace))):
                sources = [texts[line.place] for line in part]
                if isinstance(decoded, Refused):
                    symbols, unknown = part[0].symbols, self.reader.unknown(part[0])
                    results = [
                        SentenceResult(sources[0], untranslated=decoded.reason, symbols=symbols, unknown=unknown)
                    ]
                else:
                    results = self._results(sources, part, decoded, samples, trace)
                for line, result in zip(part, results, strict=True):
                    yield Found(line.place, result)

    def _results(
        self, sources: list[str], lines: Sequence[Line], decoded: Decoded, samples: bool, trace: bool
    ) -> list[SentenceResult]:
        """Return the results of the sentences of a batch."""
        found = BatchResults(decoded, self.text)
        best, drawn = self.generator.best(decoded, sources), self._drawn(decoded, len(lines), samples)
        return [
            SentenceResult(
                source,
                translations=[found.translation(one) for one in best[n]],
                samples=[found.translation(one) for one in drawn[n]],
                rows=found.cost(n).rows,
                expert_rows=found.cost(n).expert_rows,
                broken=found.broken(n),
                trace=found.trace(n, line.number) if trace else [],
                symbols=line.symbols,
                unknown=self.reader.unknown(line),
            )
            for n, (source, line) in enumerate(zip(sources, lines, strict=True))
        ]

    def _drawn(self, decoded: Decoded, sentences: int, samples: bool) -> list[list[Hypothesis]]:
        """Return each sentence's states at the ends of sweeps from burn-in on, a repeated one each time."""
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

    def _decode_batch(
        self, batch: Sequence[Line], with_energies: bool
    ) -> Generator[SweepRecord | PassRecord, None, Decoded]:
        """Decode a batch; yield its events as records."""
        numbers = [line.number for line in batch]
        outlines = [line.outline for line in batch if line.outline]  # of all lines, or of none
        running = self.generator.events(self._sample(batch), outlines, with_energies)
        return (yield from convert_events(running, partial(event_records, numbers=numbers)))

    def _sample(self, batch: Sequence[Line]) -> dict:
        """Return a batch as the generator reads it, on the model's device."""
        return to_device(self.model, self.reader.sample(batch))
