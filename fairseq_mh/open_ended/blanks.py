"""Turns texts with blanks into a `MaskedLM` whose states are the texts without the model's special symbols.

A text is the input of the model: the given symbols, the model's special symbols, and one mask for each symbol of a
blank. The given symbols are held positions of the state, as in the template of a translation: no move changes them, but
the energy includes their terms. If a text consists only of masks, all of it is generated.

Shapes: B texts, N chains, M texts in a query, S symbols in a text, T symbols in a state, P sites, D features, V symbols
in the vocabulary.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class TextModel(Protocol):
    """A masked language model of text, with its vocabulary."""

    pad: int
    mask: int
    allowed: Tensor  # (V,) bool: symbols that may fill a blank
    longest: int  # maximum number of symbols in an input of the model

    def encode(self, text: str) -> list[int]:
        """Return the model's input symbols for a text in which `blank` stands for a mask."""
        ...

    def decode(self, tokens: Tensor) -> str:
        """Return the text of input symbols (S,) long, without special symbols."""
        ...

    @property
    def blank(self) -> str:
        """Return the string that stands for a mask in a text for `encode`."""
        ...

    def read(self, tokens: Tensor, sites: Tensor) -> Tensor:
        """Return the model's features at sites of texts.

        Args:
            tokens: (M, S) long, padded.
            sites: (M, S) bool, P of them in total.

        Returns:
            (P, D), in row-major order of the sites.
        """
        ...

    def no_features(self, *sizes: int) -> Tensor:
        """Return zeros in the form of features, as `MaskedLM.no_features` does."""
        ...

    def project(self, features: Tensor) -> Tensor:
        """Return logits over the vocabulary, as `MaskedLM.project` does."""
        ...


class Blanks:
    """A `MaskedLM` over a batch of texts with blanks, where each text is a context.

    Args:
        model: the masked language model of text.
        texts: (B, S) long, padded, with a mask for each symbol of a blank.
    """

    def __init__(self, model: TextModel, texts: Tensor):
        self.model, self.texts = model, texts
        self.pad, self.allowed = model.pad, model.allowed
        self.no_features, self.project = model.no_features, model.project
        inside = texts.eq(model.mask) | model.allowed[texts]
        self.lengths = inside.sum(1)  # (B,) long: number of symbols in each state
        positions = torch.arange(int(self.lengths.max()), device=texts.device)
        self.padding = positions >= self.lengths[:, None]  # (B, T) bool
        positions_in_text = (~inside).long().argsort(dim=1, stable=True)[:, : self.padding.size(1)]
        # (B, T) long: the position in its text of each symbol of a state; padding has the position after the text.
        self.text_positions = positions_in_text.masked_fill(self.padding, texts.size(1))

    def states(self) -> Tensor:
        """Return the states before any blank is filled: (B, T) long."""
        return F.pad(self.texts, (0, 1), value=self.pad).gather(1, self.text_positions)

    def filled(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Return the texts of contexts (M,) long, filled with states (M, T) long: (M, S) long."""
        return F.pad(self.texts[context], (0, 1)).scatter(1, self.text_positions[context], tokens)[:, :-1]

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        """Return the features at masked positions of states, as `Features.features` does."""
        inputs = self.filled(tokens.masked_fill(masked, self.model.mask), context)
        sites = torch.zeros_like(F.pad(inputs, (0, 1)), dtype=torch.bool)
        sites = sites.scatter(1, self.text_positions[context], masked)[:, :-1]
        longest = int(inputs.ne(self.pad).sum(1).max())
        return self.model.read(inputs[:, :longest], sites[:, :longest])


def surroundings(model: TextModel) -> tuple[list[int], list[int]]:
    """Return the special symbols that the model puts before and after a text."""
    text = model.encode(model.blank)
    place = text.index(model.mask)
    return text[:place], text[place + 1 :]
