"""Lines of text as sources: split into symbols, checked for length, and put into batches."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor

from fairseq_mh.errors import not_unicode
from fairseq_mh.translation.given.outline import Outline

ONLY_BOS_EOS = 2  # the number of symbols of an empty source
MAX_TOKENS = 12000  # of a batch, if neither --max-tokens nor --batch-size is given, as in fairseq-generate


class Line(NamedTuple):
    """A source.

    Attributes:
        place: the index of its text in the call.
        number: keys the random streams of its chains.
        tokens: (S,) long, BOS, pieces and EOS.
        outline: the given parts of its translation, if there are any.
    """

    place: int
    number: int
    tokens: Tensor
    outline: Outline | None

    @property
    def symbols(self) -> int:
        """Return the number of symbols without BOS and EOS."""
        return len(self.tokens) - 2


def refusal(tokens: Tensor, longest: int, text: str = "") -> str | None:
    """Return the reason if a model cannot read a source, and otherwise None.

    Args:
        tokens: (S,) long, with BOS and EOS.
        longest: the most symbols that the model reads.
        text: the source's text, if it is known.
    """
    if reason := not_unicode(text):
        return reason
    if len(tokens) <= ONLY_BOS_EOS:
        return "empty, because none of its characters has a piece of the model" if text.strip() else "empty"
    return f"too long: {len(tokens)} symbols; the model reads {longest}" if len(tokens) > longest else None


class LineReader:
    """Reads the sources of a model.

    Args:
        task: the fairseq task, which has the source dictionary and splits text into pieces.
        model: the model that translates them.
    """

    def __init__(self, task: Any, model: Any):
        self.task, self.dictionary = task, task.source_dictionary
        self.longest = utils.resolve_max_positions(task.max_positions(), model.max_positions())[0]

    def tokens(self, text: str) -> Tensor:
        """Return a text's symbols (S,) long, with BOS and EOS."""
        pieces = self.dictionary.encode_line(self.task.pieces.cut(text), add_if_not_exist=False).long()  # with EOS
        return torch.cat([pieces.new_tensor([self.dictionary.bos()]), pieces])

    def unknown(self, line: Line) -> int:
        """Count the symbols of a line that are not in the dictionary."""
        return int((line.tokens == self.dictionary.unk()).sum())

    def sample(self, batch: Sequence[Line]) -> dict:
        """Return a batch of lines in fairseq's format."""
        tokens = [line.tokens for line in batch]
        left_pad = self.task.cfg.left_pad_source
        source = {
            "src_tokens": data_utils.collate_tokens(tokens, self.dictionary.pad(), left_pad=left_pad),
            "src_lengths": torch.tensor([len(line) for line in tokens]),
        }
        return {"id": torch.tensor([line.number for line in batch]), "net_input": source}


def in_batches(lines: Sequence[Line], max_tokens: int | None, batch_size: int | None) -> Iterator[list[Line]]:
    """Yield batches of lines of similar length, shortest first, as large as the limits allow.

    Args:
        lines: the lines.
        max_tokens: the most symbols of a batch, padding included; None or 0 is no limit, or `MAX_TOKENS` if
            `batch_size` is not given either.
        batch_size: the most lines of a batch; None is no limit.
    """
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
