"""Turns texts with blanks into a `MaskedLM` whose states are the texts without the model's special symbols.

A text is what the model reads: the given symbols, the model's special symbols, and a mask at each place of a blank. The
given symbols are held positions of the state, as those of a translation's template are: no move draws them again, and
the energy has their terms. A text of masks alone is generated as a whole.

Shapes: B texts, N chains, M texts of a query, S symbols of a text, T symbols of a state, P sites, D features, V symbols
of the vocabulary.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class TextModel(Protocol):
    """A masked language model of text, with its vocabulary."""

    pad: int
    mask: int
    allowed: Tensor  # (V,) bool: the symbols that a blank may hold
    longest: int  # symbols that the model reads at once

    def encode(self, text: str) -> list[int]:
        """Return the symbols that the model reads of a text, in which `blank` stands for a mask."""
        ...

    def decode(self, tokens: Tensor) -> str:
        """Return the text, without special symbols, of what the model reads: (S,) long."""
        ...

    @property
    def blank(self) -> str:
        """How a mask is written in a text for `encode`."""
        ...

    def read(self, tokens: Tensor, sites: Tensor) -> Tensor:
        """Return the model's features at some sites of texts.

        Args:
            tokens: (M, S) long, padded.
            sites: (M, S) bool, P of them in all.

        Returns:
            (P, D), in row-major order of the sites.
        """
        ...

    def no_features(self, *sizes: int) -> Tensor:
        """As in a `MaskedLM`."""
        ...

    def project(self, features: Tensor) -> Tensor:
        """As in a `MaskedLM`."""
        ...


class Blanks:
    """A `MaskedLM` of a batch of texts with blanks, each of them a context.

    Args:
        model: of texts.
        texts: (B, S) long, padded, with masks in the blanks.
    """

    def __init__(self, model: TextModel, texts: Tensor):
        self.model, self.texts = model, texts
        self.pad, self.allowed = model.pad, model.allowed
        self.no_features, self.project = model.no_features, model.project
        inside = texts.eq(model.mask) | model.allowed[texts]
        self.lengths = inside.sum(1)  # (B,) long: symbols of each state
        positions = torch.arange(int(self.lengths.max()), device=texts.device)
        self.padding = positions >= self.lengths[:, None]  # (B, T) bool
        places = (~inside).long().argsort(dim=1, stable=True)[:, : self.padding.size(1)]
        # Where each symbol of a state is in its text: (B, T). Padding's place is one past the text's end.
        self.places = places.masked_fill(self.padding, texts.size(1))

    def states(self) -> Tensor:
        """Return the states before anything is filled in: (B, T) long."""
        return F.pad(self.texts, (0, 1), value=self.pad).gather(1, self.places)

    def filled(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Return the contexts' texts with these states filled in: (M, T) long, (M,) long -> (M, S) long."""
        return F.pad(self.texts[context], (0, 1)).scatter(1, self.places[context], tokens)[:, :-1]

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        inputs = self.filled(tokens.masked_fill(masked, self.model.mask), context)
        sites = torch.zeros_like(F.pad(inputs, (0, 1)), dtype=torch.bool).scatter(1, self.places[context], masked)[
            :, :-1
        ]
        longest = int(inputs.ne(self.pad).sum(1).max())
        return self.model.read(inputs[:, :longest], sites[:, :longest])
