"""Texts with blanks, whose fillings are a sampler's states.

A text is what the model reads, its own symbols around it and a mask at each place of a blank. The state is the blanks'
symbols alone; what is given is a context, as a source sentence is, and no part of the energy: the target is
exp(-E(X | what is given) / tau). A text of masks alone is generated as a whole.
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
        """What the model reads of a text, in which `blank` stands for a mask."""
        ...

    def decode(self, tokens: Tensor) -> str:
        """The text (without special symbols) of what the model reads: (S,) long."""
        ...

    @property
    def blank(self) -> str:
        """A mask, as `encode` knows it."""
        ...

    def read(self, tokens: Tensor, sites: Tensor) -> Tensor:
        """Features (P, D) at these sites (M, S) bool of texts (M, S) long, padded, in row-major order."""
        ...

    def no_features(self, *sizes: int) -> Tensor:
        """As a `MaskedLM`'s."""
        ...

    def project(self, features: Tensor) -> Tensor:
        """As a `MaskedLM`'s."""
        ...


class Blanks:
    """A text model with a batch of texts (B, S), padded, one a context: a `MaskedLM` of blanks."""

    def __init__(self, model: TextModel, texts: Tensor):
        self.model, self.texts = model, texts
        self.pad, self.allowed = model.pad, model.allowed
        self.no_features, self.project = model.no_features, model.project
        blank = texts.eq(model.mask)
        self.lengths = blank.sum(1)  # (B,)
        self.behind = torch.arange(int(self.lengths.max()), device=texts.device) >= self.lengths[:, None]  # (B, T)
        places = (~blank).long().argsort(dim=1, stable=True)[:, : self.behind.size(1)]
        self.places = places.masked_fill(self.behind, texts.size(1))  # of each blank; one past the end for none

    def masks(self) -> Tensor:
        """The state before anything is filled in: (B, T) long."""
        return torch.where(self.behind, self.pad, self.model.mask)

    def filled(self, tokens: Tensor, context: Tensor) -> Tensor:
        """The texts with these fillings: (M, T), (M,) -> (M, S)."""
        return F.pad(self.texts[context], (0, 1)).scatter(1, self.places[context], tokens)[:, :-1]

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        inputs = self.filled(tokens.masked_fill(masked, self.model.mask), context)
        sites = torch.zeros_like(F.pad(inputs, (0, 1)), dtype=torch.bool).scatter(1, self.places[context], masked)[
            :, :-1
        ]
        longest = int(inputs.ne(self.pad).sum(1).max())
        return self.model.read(inputs[:, :longest], sites[:, :longest])
