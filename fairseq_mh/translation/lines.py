"""Lines of text as a model reads them: cut into symbols, refused where they cannot be read, and put into batches."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.translation.given.outline import Outline

MAX_TOKENS = 12000  # of a batch, where neither --max-tokens nor --batch-size is given: fairseq-generate's


class Line(NamedTuple):
    """A source that the encoder can read."""

    place: int  # among the texts given
    number: int  # that keys the randomness of its chains
    tokens: Tensor  # (S,) long: BOS, pieces, EOS
    outline: Outline | None  # what is given of its translation

    def __str__(self) -> str:
        return f"sentence {self.number}"

    @property
    def symbols(self) -> int:
        """Count its symbols, without BOS and EOS."""
        return len(self.tokens) - 2


class LineReader:
    """Reads the sources of a model.

    Args:
        task: fairseq's, with the source's dictionary, and with what cuts text into pieces.
        model: that will translate them.
    """

    def __init__(self, task: Any, model: Any):
        self.task, self.dictionary = task, task.source_dictionary
        self.longest = utils.resolve_max_positions(task.max_positions(), model.max_positions())[0]

    def tokens(self, text: str) -> Tensor:
        """Return a text's symbols (S,) long, with BOS and EOS."""
        pieces = self.dictionary.encode_line(self.task.cut(text), add_if_not_exist=False).long()  # with EOS
        return torch.cat([pieces.new_tensor([self.dictionary.bos()]), pieces])

    def refusal(self, tokens: Tensor) -> str | None:
        """Return why the model cannot read these symbols (S,); None where it can."""
        if len(tokens) <= 2:
            return "empty"
        if len(tokens) > self.longest:
            return f"too long: {len(tokens)} symbols; the model reads {self.longest}"
        return None

    def unknown(self, line: Line) -> int:
        """Count the symbols of a line that are not in the dictionary."""
        return int((line.tokens == self.dictionary.unk()).sum())

    def sample(self, batch: Sequence[Line]) -> dict:
        """Return a batch as the generator reads it."""
        tokens = [line.tokens for line in batch]
        left_pad = self.task.cfg.left_pad_source
        source = {
            "src_tokens": data_utils.collate_tokens(tokens, self.dictionary.pad(), left_pad=left_pad),
            "src_lengths": torch.tensor([len(line) for line in tokens]),
        }
        return {"id": torch.tensor([line.number for line in batch]), "net_input": source}


def in_batches(lines: Sequence[Line], max_tokens: int | None, batch_size: int | None) -> Iterator[list[Line]]:
    """Yield batches by length, as large as `--max-tokens` and `--batch-size` allow."""
    batch: list[Line] = []
    most = max_tokens or (0 if batch_size else MAX_TOKENS)
    for line in sorted(lines, key=lambda line: len(line.tokens)):  # so that the last one is the longest
        full = most and (len(batch) + 1) * len(line.tokens) > most
        if batch and (full or len(batch) == batch_size):
            yield batch
            batch = []
        batch.append(line)
    if batch:
        yield batch
