"""The input lines of `fairseq-interactive`: their numbers, which it does not pass on, and a filter."""

import fileinput
import logging
import sys
from collections import deque
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from fairseq_mh.translation.lines import refusal

logger = logging.getLogger(__name__)


def take_any_bytes() -> None:
    """Make `fairseq-interactive` read bytes that are not UTF-8 as lone surrogates, instead of ending at them."""
    fileinput.hook_encoded = partial(fileinput.hook_encoded, errors="surrogateescape")  # fairseq opens --input by it
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]


class InputLines:
    """Counts the lines of the input, and keeps the line numbers of each batch, in the order of the batches.

    Attributes:
        read: the number of lines read so far.
        broken: for the index of each of the next lines that is not text, the reason.
    """

    def __init__(self) -> None:
        self.read = 0
        self.broken: dict[int, str] = {}
        self._batches: deque[Tensor] = deque()

    def add(self, dataset: Any) -> Any:
        """Make a dataset of the next lines record the line numbers of each batch that it collates.

        Args:
            dataset: fairseq's dataset of the next lines, which is changed.

        Returns:
            The same dataset; its new attributes are `first_line`, the number of its first line, from 0, and `broken`.
        """
        first, collater = self.read, dataset.collater
        self.read += len(dataset)

        def collate(samples, *args, **kwargs):
            batch = collater(samples, *args, **kwargs)
            if "id" in batch:
                self._batches.append(batch["id"] + first)
            return batch

        dataset.collater, dataset.first_line, dataset.broken = collate, first, self.broken
        return dataset

    def numbers(self) -> Tensor:
        """Return the numbers (B,) long of the lines of the next batch."""
        return self._batches.popleft()


def readable(dataset: Any, indices: np.ndarray, longest: int) -> np.ndarray:
    """Return the indices of lines that the model can read, and log a warning for each other line.

    Args:
        dataset: a dataset from `InputLines.add`.
        indices: (B,), the indices of the lines in the dataset; warnings count the lines of the input from 1.
        longest: the most symbols that the model reads, BOS and EOS included.
    """
    kept = []
    for index in indices.tolist():
        if reason := dataset.broken.get(index) or refusal(dataset[index]["source"], longest):
            logger.warning("line %d is not translated: %s", dataset.first_line + index + 1, reason)
        else:
            kept.append(index)
    return np.array(kept, dtype=indices.dtype)
