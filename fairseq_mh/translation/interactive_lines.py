"""The lines of `fairseq-interactive`: their numbers, which it does not pass on, and those that cannot be read."""

import logging
from collections import deque
from typing import Any

import numpy as np
from torch import Tensor

logger = logging.getLogger(__name__)
ONLY_BOS_EOS = 2  # symbols of an empty source


class InputLines:
    """Counts the lines of the input, and knows which ones the batches hold, in the order in which they are made."""

    def __init__(self) -> None:
        self.read = 0
        self._batches: deque[Tensor] = deque()

    def add(self, dataset: Any) -> Any:
        """Return a dataset of the next lines, which tells of each batch that it makes.

        `dataset.first_line` is the number of its first line, from 0.
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
    """Return the lines that the model reads; a warning names each of the others by its number, from 1.

    Args:
        dataset: made by `InputLines.add`.
        indices: of the lines, (B,).
        longest: symbols that the model reads, BOS and EOS included.
    """
    kept = []
    for index in indices.tolist():
        symbols, number = len(dataset[index]["source"]), dataset.first_line + index + 1
        if symbols <= ONLY_BOS_EOS:
            logger.warning("line %d is empty, and not translated", number)
        elif symbols > longest:
            logger.warning("line %d is not translated: %d symbols; the model reads %d", number, symbols, longest)
        else:
            kept.append(index)
    return np.array(kept, dtype=indices.dtype)
