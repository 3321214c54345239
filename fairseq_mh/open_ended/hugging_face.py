"""Hugging Face's masked language models (`AutoModelForMaskedLM`) behind `TextModel`."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_mh.errors import UserError
from fairseq_mh.linear import apply
from fairseq_mh.open_ended.transformers_at_hand import transformers

UNUSED = re.compile(r"[\[<]unused_?\d+[\]>]")  # entries of a vocabulary that no text holds


class HuggingFaceMLM:
    """A model in eval mode with its tokenizer.

    The product of features and vocabulary, the model's last, is taken out of it, so that the sampler can do it where it
    needs it.

    Raises:
        UserError: for a model whose last step is no such product.
    """

    def __init__(self, model: Any, tokenizer: Any):
        self.model, self.tokenizer = model, tokenizer
        self.pad, self.mask, self.blank = tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.mask_token
        if self.pad is None or self.mask is None:
            raise UserError(
                f"the tokenizer of {model.name_or_path} has no padding or no mask: no masked language model"
            )
        self.longest = min(model.config.max_position_embeddings, tokenizer.model_max_length)
        self.projection = self._take_projection()
        symbols = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.allowed = torch.zeros(self.projection.out_features, dtype=torch.bool, device=model.device)
        self.allowed[: len(symbols)] = torch.tensor([not UNUSED.fullmatch(symbol or "") for symbol in symbols])
        self.allowed[tokenizer.all_special_ids] = False

    def _take_projection(self) -> nn.Linear:
        probe = torch.tensor([self.encode(self.blank)], device=self.model.device)
        projection = self.model.get_output_embeddings()
        with torch.no_grad():
            logits = self._run(probe)
            places = [name for name, module in self.model.named_modules() if module is projection]
            for place in places if isinstance(projection, nn.Linear) else []:
                self.model.set_submodule(place, nn.Identity())
            features = self._run(probe)
            same = features.size(-1) == projection.in_features if isinstance(projection, nn.Linear) else False
            if not same or not torch.allclose(projection(features), logits, atol=1e-3):
                raise UserError(f"{type(self.model).__name__}: its last step is no product of features and vocabulary")
        return projection

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def decode(self, tokens: Tensor) -> str:
        return self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)

    def read(self, tokens: Tensor, sites: Tensor) -> Tensor:
        return self._run(tokens)[sites]

    def no_features(self, *sizes: int) -> Tensor:
        return self.projection.weight.new_zeros(*sizes, self.projection.in_features)

    def project(self, features: Tensor) -> Tensor:
        return apply(self.projection, features)

    def _run(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens, attention_mask=tokens.ne(self.pad).long()).logits


def load_hugging_face(folder: Path, device: str, dtype: torch.dtype = torch.float32) -> HuggingFaceMLM:
    """The model in a local folder; nothing is downloaded, and no code of the folder's is run.

    Raises:
        UserError: where there is none.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no folder with a Hugging Face model (config.json, weights, tokenizer)")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForMaskedLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except (OSError, ValueError, KeyError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{folder} holds no masked language model that transformers can load: {line[:300]}") from None
    return HuggingFaceMLM(model.eval().to(device), tokenizer)
