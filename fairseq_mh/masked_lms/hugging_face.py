"""Hugging Face's masked language models (`AutoModelForMaskedLM`) behind the `TextModel` protocol."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_mh.engine.linear import Linear, apply_linear
from fairseq_mh.errors import UserError, one_line
from fairseq_mh.masked_lms.transformers_import import load_pretrained, transformers

NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # of a model of the Hub
# Symbols of vocabularies that never occur in a text.
UNUSED = re.compile(r"[\[<](unused|extra_id)_?\d+[\]>]|madeupword\d+|</s>NOTUSED")


class HuggingFaceMLM:
    """A `TextModel`: a masked LM of transformers with its tokenizer.

    The model's last step, the product of features and vocabulary, is taken out of the model, so that the sampler can
    compute it only for the positions that need it.

    Args:
        model: a model of `AutoModelForMaskedLM`, in eval mode; it is changed in place.
        tokenizer: the model's tokenizer; it is changed in place.

    Raises:
        UserError: for a tokenizer without a mask; for a model whose last step is not such a product; and for a model
            that reads padding, so that a text would depend on the other texts of its batch.
    """

    def __init__(self, model: Any, tokenizer: Any):
        self.model, self.tokenizer, self.name = model, tokenizer, type(model).__name__
        self.pad, self.mask, self.blank = tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.mask_token
        if self.pad is None or self.mask is None:
            raise UserError(f"the tokenizer of {self.name} has no padding or no mask, but a masked LM needs both")
        # As in RoBERTa, a space before a blank belongs to the blank, and a space after it to the next word.
        tokenizer.add_tokens([transformers.AddedToken(self.blank, lstrip=True, special=True)], special_tokens=True)
        self.longest = min(_max_positions(model), tokenizer.model_max_length)
        self.projection = self._take_projection()
        for module in self.model.modules():
            if type(module) is nn.Linear:
                module.__class__ = Linear
        self.allowed = self._allowed_symbols()

    def _take_projection(self) -> nn.Linear:
        """Take the product of features and vocabulary out of the model, and return it."""
        projection = self.model.get_output_embeddings()
        if not isinstance(projection, nn.Linear):
            raise UserError(f"{self.name}: its last step is not a product of features and vocabulary")
        text = self.encode(self.blank * 3)
        if text.count(self.mask) != 3 or len(text) != len(self.encode(self.blank)) + 2:
            raise UserError(f"the tokenizer of {self.name} puts symbols between masks")
        probe = torch.tensor([text], device=self.model.device)
        try:
            with torch.no_grad():
                logits = self._run(probe)
                padded = self._run(nn.functional.pad(probe, (0, 5), value=self.pad))
                for name in [name for name, module in self.model.named_modules() if module is projection]:
                    self.model.set_submodule(name, nn.Identity())
                projected = projection(self._run(probe))
        except Exception as error:  # a model without one of its parts can raise any error
            raise UserError(f"{self.name} cannot be taken apart ({one_line(error)})") from None
        if not torch.allclose(padded[:, : len(text)], logits, atol=1e-3, rtol=1e-3):
            raise UserError(f"{self.name} reads padding: a text would depend on the other texts of its batch")
        if not torch.allclose(projected, logits, atol=1e-3, rtol=1e-3):
            raise UserError(f"{self.name}: its last step is not a product of features and vocabulary")
        return projection

    def _allowed_symbols(self) -> Tensor:
        """Return the symbols that a blank may hold: (V,) bool.

        Special and unused symbols are left out, and so are those that only pad the embedding.
        """
        allowed = torch.zeros(self.projection.out_features, dtype=torch.bool, device="cpu")
        vocabulary = self.tokenizer.get_vocab()
        if max(vocabulary.values()) >= len(allowed):
            raise UserError(f"the tokenizer has more symbols than {self.name}, which has {len(allowed)}")
        allowed[[number for symbol, number in vocabulary.items() if not UNUSED.fullmatch(symbol)]] = True
        added = [number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        allowed[[*self.tokenizer.all_special_ids, *added]] = False
        return allowed.to(self.model.device)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def decode(self, tokens: Tensor) -> str:
        return self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)

    def read(self, tokens: Tensor, sites: Tensor) -> Tensor:
        return self._run(tokens)[sites]

    def no_features(self, *sizes: int) -> Tensor:
        return self.projection.weight.new_zeros(*sizes, self.projection.in_features)

    def project(self, features: Tensor) -> Tensor:
        return apply_linear(self.projection, features)

    def _run(self, tokens: Tensor) -> Tensor:
        """Return the model's output at each position: logits (M, S, V), or features (M, S, D) without its last step."""
        return self.model(input_ids=tokens, attention_mask=tokens.ne(self.pad).long()).logits


def _max_positions(model: Any) -> float:
    """Return the number of symbols for which a model has position embeddings.

    Some models, such as RoBERTa, count positions from the padding index + 1.
    """
    embeddings = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    before = max((getattr(module, "padding_idx", None) or 0 for module in embeddings), default=0)
    return getattr(model.config, "max_position_embeddings", float("inf")) - (before + 1 if before else 0)


def load_hugging_face(folder: Path | str, device: str, download: bool = False) -> HuggingFaceMLM:
    """Load a model in float32; no code that comes with it is run.

    Args:
        folder: the folder with config.json, the weights and the tokenizer.
        device: the device for the model.
        download: whether `folder` may instead be the name of a model of the Hub, such as `bert-base-uncased`, which
            transformers downloads unless it is in its cache.

    Raises:
        UserError: if there is no such model, or it lacks a part of its weights.
    """
    named = download and not Path(folder).exists() and NAME.fullmatch(str(folder))
    if not named and not Path(folder, "config.json").is_file():
        raise UserError(f"{folder} is not a folder with a Hugging Face model (config.json, weights, tokenizer)")
    model, tokenizer = load_pretrained(transformers.AutoModelForMaskedLM, folder, bool(named), use_safetensors=True)
    return HuggingFaceMLM(model.to(device), tokenizer)
