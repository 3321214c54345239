"""A model at work in one process: sources in, records out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.corpus.halves import in_halves
from fairseq_mh.corpus.records import Record, record, untranslated
from fairseq_mh.corpus.sources import Source
from fairseq_mh.errors import UserError, one_line
from fairseq_mh.loading import load_checkpoint, to_device
from fairseq_mh.sampler_config import energy_of
from fairseq_mh.translation.decoders import Decoded
from fairseq_mh.translation.options import translation_schedule
from fairseq_mh.translation.selection import draws, hypotheses
from fairseq_mh.translation.start import Plan

MAX_TOKENS = 12000  # of a batch, where neither --max-tokens nor --batch-size is given: fairseq-generate's


class Line(NamedTuple):
    source: Source
    tokens: Tensor  # (S,) long, what the encoder reads: BOS, pieces, EOS

    def __str__(self) -> str:
        return f"sentence {self.source.sentence}"


class Translator:
    """Loads a model once, and translates.

    Args:
        cfg: fairseq's configuration (`loading.parse`).
        samples: whether records have every state that counts (`--mh-burn-in`, `--mh-thin`), beside the best ones.

    Raises:
        UserError: where the model, or what cuts text into pieces, cannot be loaded.
    """

    def __init__(self, cfg: Any, samples: bool):
        self.cfg, self.samples = cfg, samples
        self.task, models = load_checkpoint(cfg)
        self.generator, self.model = self.task.build_generator(models, cfg.generation), models[0]
        try:
            cutters = self.task.build_tokenizer(cfg.tokenizer), self.task.build_bpe(cfg.bpe)
        except Exception as error:  # of libraries and files of many kinds
            raise UserError(f"--tokenizer or --bpe cannot be loaded: {one_line(error)}") from None
        self.cutters = [cutter for cutter in cutters if cutter]
        self.longest = utils.resolve_max_positions(self.task.max_positions(), self.model.max_positions())[0]

    def translate(self, sources: Sequence[Source]) -> tuple[list[Record], Counter[str]]:
        """Their records, in their order, and counts: `rows`, `broken` proposals, `untranslated` sources, and so on.

        A source that holds nothing, more than the model reads or memory holds, or for which the model has no lengths,
        gets a record that says so, without translations.

        Raises:
            UserError: where not one of those that the model can read was translated.
        """
        lines, records = [Line(source, self._tokens(source.text)) for source in sources], {}
        for line in lines:
            if reason := self._refusal(line.tokens):
                records[line.source.sentence] = untranslated(line.source, reason)
        counts = Counter(sentences=len(lines), untranslated=len(records))
        readable = [line for line in lines if line.source.sentence not in records]
        for line in readable:
            counts["symbols"] += len(line.tokens) - 2
            counts["unknown"] += int((line.tokens == self.task.source_dictionary.unk()).sum())
        for batch in self._batches(readable):
            for part, decoded in in_halves(batch, self._decode):
                if isinstance(decoded, str):
                    records[part[0].source.sentence] = untranslated(part[0].source, decoded)
                    counts["untranslated"] += 1
                    continue
                counts["rows"] += int(decoded.rows.sum())
                counts["broken"] += sum(int(sweep.broken.sum()) for sweep in decoded.sweeps)
                records |= self._records(part, decoded)
        if readable and counts["untranslated"] == len(lines):
            raise UserError(f"of {readable[0]} and on, none: {records[readable[0].source.sentence]['untranslated']}")
        return [records[source.sentence] for source in sources], counts

    def _tokens(self, text: str) -> Tensor:
        for cutter in self.cutters:
            text = cutter.encode(text)
        dictionary = self.task.source_dictionary
        pieces = dictionary.encode_line(text, add_if_not_exist=False).long()  # with EOS
        return torch.cat([pieces.new_tensor([dictionary.bos()]), pieces])

    def _text(self, tokens: Tensor) -> str:
        dictionary = self.task.target_dictionary
        text = dictionary.string(tokens, self.cfg.common_eval.post_process, extra_symbols_to_ignore={dictionary.eos()})
        for cutter in reversed(self.cutters):
            text = cutter.decode(text)
        return text

    def _refusal(self, tokens: Tensor) -> str | None:
        if len(tokens) <= 2:
            return "empty"
        return f"{len(tokens)} symbols; the model reads {self.longest}" if len(tokens) > self.longest else None

    def _batches(self, lines: list[Line]) -> Iterator[list[Line]]:
        """By length, as many at once as `--max-tokens` and `--batch-size` say."""
        limits = self.cfg.dataset
        batch: list[Line] = []
        most = limits.max_tokens or (0 if limits.batch_size else MAX_TOKENS)
        for line in sorted(lines, key=lambda line: len(line.tokens)):  # so that the last one is the longest
            full = most and (len(batch) + 1) * len(line.tokens) > most
            if batch and (full or len(batch) == limits.batch_size):
                yield batch
                batch = []
            batch.append(line)
        if batch:
            yield batch

    def _decode(self, batch: Sequence[Line]) -> Decoded:
        tokens, pad = [line.tokens for line in batch], self.task.source_dictionary.pad()
        source = {
            "src_tokens": data_utils.collate_tokens(tokens, pad, left_pad=self.task.cfg.left_pad_source),
            "src_lengths": torch.tensor([len(line) for line in tokens]),
        }
        ids = torch.tensor([line.source.sentence for line in batch])
        return self.generator.decode(to_device(self.model, {"id": ids, "net_input": source}))

    def _records(self, batch: Sequence[Line], decoded: Decoded) -> dict[int, Record]:
        cfg, plan = self.task.cfg, Plan(*(part.cpu() for part in decoded.plan))
        rows = torch.zeros(len(batch), dtype=torch.long).index_add(0, plan.context, decoded.rows)
        drawn: list[list] = [[] for _ in batch]
        if self.samples:
            ends = draws(decoded.sweeps, translation_schedule(cfg))
            for one in hypotheses(ends, plan, energy_of(cfg), str(cfg.mh_length_select)):
                drawn[int(plan.context[one.chain])].append(one)
        best, energy = self.generator.best(decoded, len(batch)), energy_of(cfg)
        return {
            line.source.sentence: record(line.source, best[n], drawn[n], int(rows[n]), plan, energy, self._text)
            for n, line in enumerate(batch)
        }
