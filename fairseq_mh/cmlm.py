"""A fairseq CMLM behind the `MaskedLM` protocol: the only file that knows the model's inside.

fairseq's CMLM sees targets as BOS X EOS, masks with <unk>, and predicts the length of BOS X EOS.
Everything outside this file sees X alone.
"""

import logging
from collections.abc import Callable
from functools import partial

import torch
from fairseq.data import Dictionary
from fairseq.models.nat import CMLMNATransformerModel
from torch import Tensor

from fairseq_mh.decoder_engine import Decode, DecoderEngine
from fairseq_mh.linear import apply

logger = logging.getLogger(__name__)

AROUND = 2  # BOS and EOS


class FairseqCMLM:
    """A CMLM bound to a batch of encoded sources; `rows` of a query index that batch.

    `decode` comes from `decoder_of(model)(encoder_out)`. `allowed` comes from `allowed_symbols`, once: fairseq adds
    words to the dictionary while it scores.
    """

    def __init__(self, model: CMLMNATransformerModel, decode: Decode, dictionary: Dictionary, allowed: Tensor):
        self.model, self.decode = model, decode
        self.pad, self.bos, self.eos, self.mask = (
            dictionary.pad(),
            dictionary.bos(),
            dictionary.eos(),
            dictionary.unk(),
        )
        self.allowed = allowed

    def features(self, tokens: Tensor, masked: Tensor, rows: Tensor) -> Tensor:
        lengths = tokens.ne(self.pad).sum(1)
        longest = int(lengths.max())
        inputs = tokens.new_full((len(tokens), longest + AROUND), self.pad)
        inputs[:, 0] = self.bos
        inputs[:, 1:-1] = tokens.masked_fill(masked, self.mask)[:, :longest]
        inputs.scatter_(1, lengths[:, None] + 1, self.eos)
        asked = torch.zeros_like(inputs, dtype=torch.bool)
        asked[:, 1:-1] = masked[:, :longest]
        return self.decode(inputs, asked, rows)

    def project(self, features: Tensor) -> Tensor:
        return apply(self.model.decoder.output_projection, features)


def decoder_of(model: CMLMNATransformerModel) -> Callable[[dict], Decode]:
    """From encoded sources to their decoder: the engine, or the stock decoder where the engine lacks a part."""
    try:
        return DecoderEngine(model.decoder).bind
    except ValueError as reason:
        logger.info("the stock decoder is used, several times slower: this model has %s", reason)
        return partial(stock_decoder, model)


def stock_decoder(model: CMLMNATransformerModel, encoder_out: dict) -> Decode:
    """fairseq's own, the encoder's output repeated for every row."""

    def decode(inputs: Tensor, asked: Tensor, rows: Tensor) -> Tensor:
        repeated = model.encoder.reorder_encoder_out(encoder_out, rows)
        return model.decoder.extract_features(inputs, encoder_out=repeated)[0][asked]

    return decode


def allowed_symbols(dictionary: Dictionary) -> Tensor:
    """(V,) bool: no special symbols, and none of the words that only pad the dictionary to a multiple of 8."""
    return torch.tensor(
        [i >= dictionary.nspecial and not dictionary[i].startswith("madeupword") for i in range(len(dictionary))]
    )


def subwords(dictionary: Dictionary) -> str | None:
    """The name under which fairseq joins this dictionary's pieces to words, by what the pieces look like."""
    if any(symbol.startswith("\u2581") for symbol in dictionary.symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in dictionary.symbols) else None


def longest_target(model: CMLMNATransformerModel) -> int:
    """The most tokens that a target may hold, BOS and EOS not counted."""
    return model.max_decoder_positions() - AROUND


def length_log_probs(model: CMLMNATransformerModel, encoder_out: dict) -> Tensor:
    """log p(T | source) by the model's length predictor: (B, longest + 1) float32, minus infinity where impossible."""
    log_p = model.decoder.forward_length(normalize=False, encoder_out=encoder_out).float().log_softmax(-1)
    classes = torch.arange(longest_target(model) + 1, device=log_p.device) + AROUND
    classes = classes.expand(len(log_p), -1)
    if model.decoder.pred_length_offset:  # the class is then the difference to the source's length, plus 128
        source = (~encoder_out["encoder_padding_mask"][0]).sum(1, keepdim=True)
        classes = classes - source + log_p.size(1) // 2
    possible = (classes >= 0) & (classes < log_p.size(1))
    possible[:, 0] = False
    return log_p.gather(1, classes.clamp(0, log_p.size(1) - 1)).masked_fill(~possible, -torch.inf)
