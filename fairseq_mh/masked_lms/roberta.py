"""fairseq's RoBERTa, and the other models of its task `masked_lm`, behind the `TextModel` protocol."""

from pathlib import Path

import sentencepiece
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from fairseq_mh.engine.linear import linear
from fairseq_mh.errors import UserError
from fairseq_mh.files.checkpoints import load_model
from fairseq_mh.masked_lms.dictionaries import WORD, allowed_symbols, load_dictionary, sentence_pieces, subwords


class FairseqMLM:
    """A `TextModel`: a RoBERTa with its dictionary.

    Args:
        model: the model, in eval mode.
        dictionary: the model's dictionary, with the <mask> that its task added.
        pieces: the sentencepiece model that cuts texts into the dictionary's symbols, or None to cut them at spaces.
    """

    blank = "<mask>"

    def __init__(
        self, model: RobertaModel, dictionary: Dictionary, pieces: sentencepiece.SentencePieceProcessor | None
    ):
        self.model, self.dictionary, self.pieces = model, dictionary, pieces
        self.head = model.encoder.lm_head
        self.pad, self.mask = dictionary.pad(), dictionary.index(self.blank)
        self.longest = model.max_positions()
        self.allowed = allowed_symbols(dictionary).to(self.head.weight.device)
        self.allowed[self.mask] = False

    def encode(self, text: str) -> list[int]:
        tokens = [self.dictionary.bos()]
        for number, given in enumerate(text.split(self.blank)):
            words = self.pieces.encode(given, out_type=str) if self.pieces else given.split()
            if self.pieces and number and words and not given[0].isspace():  # the first piece continues a word
                words = [word for word in (words[0].removeprefix(WORD), *words[1:]) if word]
            tokens += [self.mask] * (number > 0) + [self.dictionary.index(word) for word in words]
        return [*tokens, self.dictionary.eos()]

    def decode(self, tokens: Tensor) -> str:
        special = tokens.new_tensor([self.dictionary.bos(), self.dictionary.eos(), self.pad])
        return self.dictionary.string(tokens[~torch.isin(tokens, special)], subwords(self.dictionary))

    def read(self, tokens: Tensor, sites: Tensor) -> Tensor:
        features = self.model.encoder.extract_features(tokens)[0][sites]
        return self.head.layer_norm(self.head.activation_fn(self.head.dense(features)))

    def no_features(self, *sizes: int) -> Tensor:
        return self.head.weight.new_zeros(*sizes, self.head.weight.size(1))

    def project(self, features: Tensor) -> Tensor:
        return linear(features, self.head.weight, self.head.bias)


def load_fairseq(checkpoint: Path, device: str, pieces: Path | None) -> FairseqMLM:
    """Load a RoBERTa in float32.

    Args:
        checkpoint: the checkpoint, in a folder that also has dict.txt.
        device: the device for the model.
        pieces: the file of a sentencepiece model, or None for a dictionary of whole words.

    Raises:
        UserError: if one of the files is missing or of another kind.
    """
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} does not exist; a checkpoint of a RoBERTa is expected")
    if not (checkpoint.parent / "dict.txt").is_file():
        raise UserError(f"{checkpoint.parent} lacks dict.txt, the dictionary that the model was trained with")
    processor, dictionary = sentence_pieces(pieces), load_dictionary(checkpoint.parent / "dict.txt")
    dictionary.add_symbol(FairseqMLM.blank)  # as its task does
    model, _ = load_model(checkpoint, overrides={"data": str(checkpoint.parent)})
    if not isinstance(model, RobertaModel):
        raise UserError(f"{checkpoint} holds a {type(model).__name__}, not a roberta")
    return FairseqMLM(model.eval().to(device, torch.float32), dictionary, processor)
