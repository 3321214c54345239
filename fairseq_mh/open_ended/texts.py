"""Masked language models of text from Python: a model for `mcmc.sample`, and open-ended generation in one call.

lm = load_masked_lm("models/libreoffice-en")
generate(lm, "Click {3} to {}.", chains=5, length=(2, 6))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.mcmc.chain import finish
from fairseq_mh.open_ended.blanks import TextModel, surroundings
from fairseq_mh.open_ended.drawing import load_text_model
from fairseq_mh.open_ended.options import check_text_options, parse_text_options
from fairseq_mh.open_ended.sampling import check_text, sample, text_energy


class TextLM:
    """A `MaskedLM` of whole texts: its states are their symbols, without the special ones around them.

    Args:
        model: the masked language model of text.

    Attributes:
        pad: the symbol that fills the positions after a text's end.
        allowed: (V,) bool, the symbols that a state may hold.
    """

    def __init__(self, model: TextModel):
        self.model, self.pad, self.allowed = model, model.pad, model.allowed
        self.no_features, self.project = model.no_features, model.project
        self._before, self._after = surroundings(model)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the states of texts: (N, T) long, padded.

        Raises:
            UserError: if a text is empty, is too long for the model, or has symbols that no state may hold.
        """
        lines = [torch.tensor(self.model.encode(text), dtype=torch.long) for text in texts]
        states = []
        for text, line in zip(texts, lines, strict=True):
            states.append(line[len(self._before) : len(line) - len(self._after)])
            if not len(states[-1]):
                raise UserError("a text is empty, but a chain needs at least one symbol")
            if len(line) > self.model.longest:
                raise UserError(
                    f"a text has {len(line)} symbols, but the model reads {self.model.longest}: {text[:60]!r}"
                )
            if not self.allowed.cpu()[states[-1]].all():
                raise UserError(f"no state may hold some symbols of {text[:60]!r}: masks, unknown or special symbols")
        return torch.nn.utils.rnn.pad_sequence(states, True, self.pad).to(self.allowed.device)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the texts of states (N, T) long."""
        return [self.model.decode(state[state.ne(self.pad)]) for state in tokens]

    def features(self, tokens: Tensor, masked: Tensor, context: Tensor) -> Tensor:
        """Return the features at masked positions of states, as `Features.features` does."""
        lengths, around = tokens.ne(self.pad).sum(1), (len(self._before), len(self._after))
        inputs = F.pad(tokens.masked_fill(masked, self.model.mask), around, value=self.pad)
        inputs[:, : around[0]] = inputs.new_tensor(self._before)
        places = around[0] + lengths[:, None] + torch.arange(around[1], device=lengths.device)
        inputs.scatter_(1, places, inputs.new_tensor(self._after).expand(len(inputs), -1))
        longest = int(lengths.max()) + sum(around)
        return self.model.read(inputs[:, :longest], F.pad(masked, around)[:, :longest])


class GeneratedText(NamedTuple):
    """A text in which a chain ended.

    Attributes:
        text: the text.
        tokens: (T,) long, without special symbols.
        energy: nats, the energy of the tokens.
    """

    text: str
    tokens: Tensor
    energy: float


def load_masked_lm(
    model: str | Path, device: str | None = None, sentencepiece_model: str | Path | None = None
) -> TextLM:
    """Load a masked language model of text, in float32; no code that comes with it is run.

    Args:
        model: a folder with a Hugging Face model, the name of a model of the Hub, which is downloaded unless it is in
            the cache (extra `hf`), or a checkpoint of a fairseq RoBERTa (`.pt`), with dict.txt in the same folder.
        device: the device; by default a GPU, if there is one.
        sentencepiece_model: for a fairseq RoBERTa, the file of the SentencePiece model of its pieces.

    Raises:
        UserError: if the model cannot be loaded, or if it is of a kind that cannot be sampled from.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    pieces = Path(sentencepiece_model) if sentencepiece_model else None
    return TextLM(load_text_model(model, device, pieces, download=True))


def generate(
    lm: TextLM,
    text: str = "{}",
    *,
    chains: int = 10,
    length: tuple[int, int] = (15, 45),
    seed: int = 1,
    batch_size: int = 25,
    **options: Any,
) -> list[GeneratedText]:
    """Draw texts as `fairseq-mh sample` does: all blanks of a text are filled, and chains redraw them.

    Args:
        lm: the model from `load_masked_lm`.
        text: the text; `{3}` is a blank of three symbols, and `{}` one of a random number.
        chains: the number of texts, one from each chain.
        length: the smallest and the largest number of symbols of a blank `{}`.
        seed: of all random draws; a text depends on it and on the number of its chain alone.
        batch_size: the number of chains that run at once.
        options: the sampler's options by their names without `--mh-`: `sweeps=33`, `energy="raw"`, ...

    Returns:
        The last text of each chain.

    Raises:
        UserError: if an option cannot be used, or if the model cannot read the text.
    """
    numbers = {"chains": chains, "seed": seed, "batch-size": batch_size}
    numbers |= {f"mh-{name.replace('_', '-')}": value for name, value in options.items()}
    given = [f"--{name}={value}" for name, value in numbers.items()]
    asked = parse_text_options(["", "--output=", f"--text={text}", "--length", *map(str, length), *given])
    check_text_options(asked)
    check_text(lm.model, text, asked.lengths[-1])
    drawn: list[GeneratedText] = []
    for ids in asked.batches():
        found = finish(sample(lm.model, text, asked.lengths, ids, seed, asked.sampler))
        end = found.sweeps[-1].end
        energies = text_energy(asked.sampler).total(end.scores).tolist()
        states = (tokens[:size] for tokens, size in zip(end.tokens, found.lengths, strict=True))
        drawn += map(GeneratedText, found.texts, states, energies)
    return drawn
