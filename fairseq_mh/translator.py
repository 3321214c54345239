"""Translation from Python: load a model once, and give decoding options as keyword arguments.

translator = Translator.load("models/libreoffice-de-en")
translator.translate(["Öffnen Sie das Menü."])
"""

import copy
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from fairseq_mh.errors import SentenceError, UserError, one_line, refuse
from fairseq_mh.loading import (
    OF_THE_MODEL,
    arguments_of,
    load_checkpoint,
    parse_generate_options,
    to_device,
    with_pieces,
)
from fairseq_mh.mcmc.chain import convert_events
from fairseq_mh.sampler_config import schedule_of
from fairseq_mh.translation.alternatives import Alternative, alternatives, log_probs
from fairseq_mh.translation.chains.decoders import Decoded
from fairseq_mh.translation.chains.plan import Plan
from fairseq_mh.translation.fairseq_format import source_of
from fairseq_mh.translation.generator import MHGenerator
from fairseq_mh.translation.given.outline import Outline, Template, outlines_of_templates
from fairseq_mh.translation.given.phrases import outlines_of_phrases
from fairseq_mh.translation.halves import in_halves
from fairseq_mh.translation.lines import Line, LineReader, in_batches, refusal
from fairseq_mh.translation.ranking.selection import Hypothesis, draws, hypotheses
from fairseq_mh.translation.results import PassRecord, SentenceResult, SweepRecord, event_records, translation_of
from fairseq_mh.translation.samples import Samples, check_draws, samples_of
from fairseq_mh.translation.scorer import Source

Result = TypeVar("Result")
KEPT_OPTIONS = 16  # the number of sets of options for which generators are kept


class Found(NamedTuple, Generic[Result]):
    """The event that a text's batch has been decoded.

    Attributes:
        place: the index of the text in the call.
        result: the result of the text: `SentenceResult`, or `Samples` if its translations are drawn.
    """

    place: int
    result: Result


class Translator:
    """Translates with a model, its dictionaries and its subword pieces.

    Args:
        data: fairseq's data folder.
        arguments: options of `fairseq-generate` and of the plugin, as on a command line.

    Raises:
        UserError: if the options are refused, or the model, tokenizer or subword model cannot be loaded.
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
        except Exception as error:  # the libraries raise many kinds of errors
            raise UserError(f"--tokenizer or --bpe cannot be loaded: {one_line(error)}") from None
        self.reader = LineReader(self.task, self.model)
        self._lock = threading.Lock()  # several threads may use one translator
        # The configuration and the generator of each set of options.
        self._settings: dict[tuple[str, ...], tuple[Any, MHGenerator]] = {(): (self.cfg, self.generator)}

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> "Translator":
        """Load a data folder with its checkpoint (`checkpoint.pt`) and pieces (`spm.model`, if it has them).

        Args:
            folder: fairseq's data folder: two dictionaries, and binarised files or `source_lang` and `target_lang`.
            options: decoding options by their names: the plugin's without `mh_` (`sweeps=12`, `preset="fast"`), and
                fairseq's (`path`, `sentencepiece_model`, `iter_decode_with_beam`, `cpu`, ...).

        Raises:
            UserError: if an option is unknown or refused, or a file cannot be used.
        """
        return cls(str(folder), with_pieces(str(folder), arguments_of(options)))

    def translate(self, texts: Sequence[str], **options: Any) -> list[str]:
        """Translate texts.

        Args:
            texts: the sources.
            options: as for `decode`.

        Returns:
            The best translation of each text; an empty string if a text cannot be translated.

        Raises:
            UserError: as in `decode`.
        """
        best = (result.translations for result in self.decode(texts, trace=False, **options))
        return [found[0].text if found else "" for found in best]

    def decode(self, texts: Sequence[str], **settings: Any) -> list[SentenceResult]:
        """Decode texts, and return all results.

        The result of a text that cannot be translated has no translations, and `untranslated` is the reason: the text
        is empty or not Unicode, it is longer than the model or the memory allows, or the model has no lengths for it.

        Args:
            texts: the sources.
            settings: the keyword arguments of `watch`, including decoding options (`nbest=3`, `chains=5`).

        Returns:
            The result of each text, in the order of the texts.

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
    ) -> Iterator[SweepRecord | PassRecord | Found[SentenceResult]]:
        """Decode texts, and yield events: ended sweeps, passes of mask-predict, and results.

        Every sweep of every chain is yielded when it has ended, the start (sweep 0) first. The result of a text is
        yielded when its batch has been decoded. To stop the decoding, leave the loop over the events. If a batch does
        not fit into memory, its halves are decoded instead, and their events are yielded again.

        Args:
            texts: the sources.
            numbers: a number for each text that keys the random streams of its chains, as line numbers do; 0, 1, ... by
                default.
            samples: whether results have the state at the end of every sweep from burn-in on.
            trace: whether results have the records of `--mh-trace`.
            template: the given part of all translations, or a list with one for each text. `Click {2} to {}.` gives
                everything except a blank of two tokens and a blank of any number of tokens. An `Outline` gives the same
                by tokens.
            phrases: for each text, a list of phrases that its translations must contain anywhere; with
                `constraints="ordered"`, in the given order.
            options: decoding options for this call, as for `load` (`nbest=3`, `chains=5`), except the options of the
                model itself (`path`, `cpu`, ...).

        Yields:
            `SweepRecord`, `PassRecord` and `Found`.

        Raises:
            UserError: if the options are refused, texts are no list of texts, templates or phrases do not match the
                texts, or a template has no blanks or text that the dictionary lacks.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UserError("texts must be a list of texts, also if there is only one: [text]")
        translator = self._set(options)
        numbers = range(len(texts)) if numbers is None else numbers
        if len(numbers) != len(texts):
            raise UserError(f"there are {len(numbers)} numbers for {len(texts)} texts: one for each")
        if any(number < 0 for number in numbers):
            raise UserError("numbers must not be negative")
        given = len(texts), translator.task.pieces, translator.generator.end
        if phrases is None:
            outlines = outlines_of_templates(template, *given)
        elif template is None:
            outlines = outlines_of_phrases(phrases, *given)
        else:
            raise UserError("phrases cannot be combined with a template; give one of them")
        return translator._watched(texts, outlines, numbers, samples, trace)

    def sample(self, texts: Sequence[str], draws: int = 1000, **settings: Any) -> list[Samples]:
        """Draw translations of texts from exp(-E / temperature), instead of searching for the best one.

        Args:
            texts: the sources.
            draws: the number of draws for each text.
            settings: the keyword arguments of `watch_samples`, including decoding options (`energy="two-stream"`).

        Returns:
            The draws of each text, in the order of the texts.

        Raises:
            UserError: as in `watch_samples`.
        """
        events = self.watch_samples(texts, draws, **settings)
        found = {one.place: one.result for one in events if isinstance(one, Found)}
        return [found[place] for place in range(len(texts))]

    def watch_samples(
        self,
        texts: Sequence[str],
        draws: int = 1000,
        *,
        chains: int = 4,
        burn_in: int = 20,
        thin: int = 1,
        **settings: Any,
    ) -> Iterator[SweepRecord | Found[Samples]]:
        """Draw as `sample` does, and yield events: ended sweeps, and the draws of texts.

        Args:
            texts: the sources.
            draws: the number of draws for each text.
            chains: the number of chains for each text; several show whether they have converged.
            burn_in: the number of first sweeps of each chain to discard.
            thin: the number of sweeps from one draw of a chain to its next. Each chain makes as many sweeps as the
                draws take.
            settings: `numbers`, `template`, `phrases` and decoding options, as for `watch`; those that are not given
                are those of the preset `sample`.

        Yields:
            `SweepRecord` and `Found`.

        Raises:
            UserError: as in `watch`, and for options with which states of chains are no draws from one distribution,
                such as annealing or several lengths.
        """
        refuse(
            {
                "samples: draws must be 1 or more": draws < 1,
                "samples: chains must be 1 or more": chains < 1,
                "samples: thin must be 1 or more": thin < 1,
                "samples: burn_in must not be negative": burn_in < 0,
                "samples: the sweeps follow from draws, burn_in and thin; leave them out": "sweeps" in settings,
            }
        )
        chains = min(chains, draws)
        sweeps = burn_in + thin * -(-draws // chains)
        settings = {"preset": "sample", **settings, "chains": chains, "burn_in": burn_in, "sweeps": sweeps}
        own = {name: value for name, value in settings.items() if name not in ("numbers", "template", "phrases")}
        cfg = self._set(own).cfg
        check_draws(cfg.task, cfg.generation.iter_decode_with_beam)
        events = self.watch(texts, samples=True, trace=False, **settings)
        return convert_samples(events, partial(samples_of, draws=draws, chains=chains, burn_in=burn_in, thin=thin))

    def alternatives(
        self, text: str, tokens: Tensor, position: int, *, count: int = 8, **options: Any
    ) -> list[Alternative]:
        """Return the likeliest symbols at a position of a translation, and the translation's energies with them.

        Args:
            text: the source.
            tokens: (T,) long, the translation.
            position: the index of the position, from 0.
            count: the number of symbols; the current symbol is added if it is not one of them.
            options: decoding options as for `decode`, such as the energy.

        Raises:
            UserError: if the text cannot be translated, the tokens are not a state of the chains, or there is no such
                position.
        """
        return alternatives(self._set(options).generator.scorer, self._source(text), tokens, position, count)

    def log_probs(self, text: str, translations: Sequence[Tensor]) -> list[Tensor]:
        """Return the log-probability of each token of translations of a text, given all other tokens.

        Args:
            text: the source.
            translations: N tensors (T,) long on the CPU.

        Returns:
            N tensors (T,) in nats. Each value takes a decoder row, in which the token is masked.

        Raises:
            UserError: if the text cannot be translated.
        """
        return log_probs(self.generator.scorer, self._source(text), translations)

    def _source(self, text: str) -> Source:
        """Return a source as models read it."""
        line = Line(0, 0, self.reader.tokens(text), None)
        if reason := refusal(line.tokens, self.reader.longest, text):
            raise UserError(f"the source is {reason}")
        return source_of(self._sample([line]))

    def _set(self, options: Mapping[str, Any]) -> "Translator":
        """Return a copy of this translator with other options; each set of options is parsed once while it is kept."""
        arguments = tuple(arguments_of(options))
        refuse({f"{name} is for the model: give it to Translator.load": name in arguments for name in OF_THE_MODEL})
        with self._lock:
            setting = self._settings.get(arguments)
            if setting is None:
                cfg = parse_generate_options(self.data, [*self.arguments, *arguments])
                task = copy.copy(self.task)
                task.cfg = cfg.task
                setting = cfg, task.build_generator(self.models, cfg.generation)
                while len(self._settings) >= KEPT_OPTIONS:
                    self._settings.pop(next(key for key in self._settings if key))
                self._settings[arguments] = setting
        other = copy.copy(self)
        other.cfg, other.generator = setting
        return other

    def _watched(
        self,
        texts: Sequence[str],
        outlines: Sequence[Outline | None],
        numbers: Iterable[int],
        samples: bool,
        trace: bool,
    ) -> Iterator[SweepRecord | PassRecord | Found[SentenceResult]]:
        """Decode texts with these outlines; yields the events of `watch`, and takes its other arguments."""
        readable = []
        for place, number in enumerate(numbers):
            line = Line(place, number, self.reader.tokens(texts[place]), outlines[place])
            if reason := refusal(line.tokens, self.reader.longest, texts[place]):
                yield Found(place, SentenceResult(texts[place], untranslated=reason))
            else:
                readable.append(line)
        for batch in in_batches(readable, self.cfg.dataset.max_tokens, self.cfg.dataset.batch_size):
            for part, decoded in (yield from in_halves(batch, partial(self._decode_batch, with_energies=trace))):
                sources = [texts[line.place] for line in part]
                if isinstance(decoded, SentenceError):
                    symbols, unknown = part[0].symbols, self.reader.unknown(part[0])
                    results = [SentenceResult(sources[0], untranslated=str(decoded), symbols=symbols, unknown=unknown)]
                else:
                    results = self._results(sources, part, decoded, samples, trace)
                for line, result in zip(part, results, strict=True):
                    yield Found(line.place, result)

    def _results(
        self, sources: list[str], lines: Sequence[Line], decoded: Decoded, samples: bool, trace: bool
    ) -> list[SentenceResult]:
        """Return the results of the sentences of a batch."""
        plan = Plan(*(part.cpu() for part in decoded.plan))
        best, drawn = self.generator.best(decoded, sources), self._drawn(decoded, len(lines)) if samples else None
        broken = sum((sweep.broken for sweep in decoded.sweeps), torch.zeros_like(plan.context))
        counts = torch.stack([*decoded.cost, broken], 1)
        spent = counts.new_zeros(len(lines), 3).index_add(0, plan.context, counts).tolist()
        traces: list[list[dict[str, Any]]] = [[] for _ in lines]
        if trace:
            records = decoded.records([line.number for line in lines])
            for sentence in plan.context.tolist():
                traces[sentence] += islice(records, len(decoded.sweeps))
        return [
            SentenceResult(
                source,
                translations=[translation_of(one, plan, self.text(one.tokens)) for one in best[n]],
                samples=[translation_of(one, plan, self.text(one.tokens)) for one in (drawn[n] if drawn else ())],
                rows=spent[n][0],
                expert_rows=spent[n][1],
                broken=spent[n][2],
                trace=traces[n],
                symbols=line.symbols,
                unknown=self.reader.unknown(line),
            )
            for n, (source, line) in enumerate(zip(sources, lines, strict=True))
        ]

    def _drawn(self, decoded: Decoded, sentences: int) -> list[list[Hypothesis]]:
        """Return each sentence's states at the ends of sweeps from burn-in on, repeated states included."""
        drawn: list[list[Hypothesis]] = [[] for _ in range(sentences)]
        cfg, context = self.cfg.task, decoded.plan.context.tolist()
        ends = draws(decoded.sweeps, schedule_of(cfg, cfg.mh_burn_in))
        for one in hypotheses(ends, decoded.plan, decoded.energy, decoded.order, str(cfg.mh_length_select)):
            drawn[context[one.chain]].append(one)
        return drawn

    def text(self, tokens: Tensor) -> str:
        """Return the text of a target's tokens (T,) long."""
        return self.task.pieces.join(tokens, self.cfg.common_eval.post_process or self.generator.joined)

    def _decode_batch(
        self, batch: Sequence[Line], with_energies: bool
    ) -> Generator[SweepRecord | PassRecord, None, Decoded]:
        """Decode a batch, yield its events as records, and return what `MHGenerator.events` returns."""
        numbers = [line.number for line in batch]
        outlines = [line.outline for line in batch if line.outline]  # either all lines have one, or none has
        running = self.generator.events(self._sample(batch), outlines, with_energies)
        return (yield from convert_events(running, partial(event_records, numbers=numbers)))

    def _sample(self, batch: Sequence[Line]) -> dict:
        """Return a batch of lines in fairseq's format, on the model's device."""
        return to_device(self.model, self.reader.sample(batch))


def convert_samples(
    events: Iterator[SweepRecord | PassRecord | Found[SentenceResult]], convert: Callable[[SentenceResult], Samples]
) -> Iterator[SweepRecord | Found[Samples]]:
    """Yield the events of `Translator.watch`, with the draws of texts instead of their results."""
    for event in events:
        if isinstance(event, Found):
            yield Found(event.place, convert(event.result))
        elif isinstance(event, SweepRecord):
            yield event
