"""The input lines of `fairseq-interactive`: their numbers, which it does not pass on, and a filter."""

import logging
from collections import deque
from typing import Any

import numpy as np
from torch import Tensor

logger = logging.getLogger(__name__)
ONLY_BOS_EOS = 2  # the number of symbols of an empty source


class InputLines:
    """Counts the lines of the input, and keeps the line numbers of each batch, in the order of the batches.

    Attributes:
        read: the number of lines read so far.
    """

    def __init__(self) -> None:
        self.read = 0
        self._batches: deque[Tensor] = deque()

    def add(self, dataset: Any) -> Any:
        """Make a dataset of the next lines record the line numbers of each batch that it collates.

        Args:
            dataset: fairseq's dataset of the next lines, which is changed.

        Returns:
            The same dataset; its new attribute `first_line` is the number of its first line, from 0.
        """
        first, collater = self.read, dataset.collater
        self.read += len(dataset)

        def collate(samples, *args, **kwargs):
            batch = collater(samples, *args, **kwargs)
            if "id" in batch:
                self._batches.append(batch["id"] + first)
            return batch

        dataset.collater, dataset.first_line = collate, first
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
        symbols, number = len(dataset[index]["source"]), dataset.first_line + index + 1
        if symbols <= ONLY_BOS_EOS:
            logger.warning("line %d is not translated: it is empty", number)
        elif symbols > longest:
            logger.warning(
                "line %d is not translated: it has %d symbols; the model reads at most %d", number, symbols, longest
            )
        else:
            kept.append(index)
    return np.array(kept, dtype=indices.dtype)
