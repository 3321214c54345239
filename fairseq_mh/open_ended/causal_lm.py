"""Scores texts with a causal language model, as in Table 2 of the paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_mh.errors import UserError
from fairseq_mh.masked_lms.transformers_import import load_pretrained, transformers
from fairseq_mh.open_ended.options import check_device

TEXTS_AT_ONCE = 16


class Judged(NamedTuple):
    """The scores that a causal language model gives to N texts."""

    nats: Tensor  # (N,) float64: negative log-probability of each text
    tokens: Tensor  # (N,) long: number of predicted tokens in each text

    def perplexity(self) -> float:
        """Return the exponential of the nats per token over all texts."""
        return float((self.nats.sum() / self.tokens.sum()).exp())


class CausalLM:
    """A causal language model with its tokenizer.

    If the tokenizer has a BOS, the first token of a text is predicted from it; otherwise the first token is not scored.

    Raises:
        UserError: if the predictions of the model depend on later tokens.
    """

    def __init__(self, model: Any, tokenizer: Any):
        self.model, self.tokenizer = model, tokenizer
        self.longest = getattr(model.config, "max_position_embeddings", float("inf"))
        with torch.no_grad():
            one, other = model(input_ids=torch.tensor([[0, 1], [0, 2]], device=model.device)).logits[:, 0]
        if not torch.allclose(one, other, atol=1e-4):
            raise UserError(f"{type(model).__name__} looks ahead: it is not causal, and cannot judge texts")

    @torch.no_grad()
    def judge(self, texts: Sequence[str]) -> Judged:
        """Return the scores of texts.

        Raises:
            UserError: if a text has no token to predict, or has more tokens than the model has positions.
        """
        bos = self.tokenizer.bos_token_id
        lines = [
            ([] if bos is None else [bos]) + self.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in texts
        ]
        for text, line in zip(texts, lines, strict=True):
            if not 2 <= len(line) <= self.longest:
                raise UserError(
                    f"a text of {len(line)} tokens cannot be judged, only 2 to {self.longest}: {text[:60]!r}"
                )
        nats = torch.cat([self._nats(lines[n : n + TEXTS_AT_ONCE]) for n in range(0, len(lines), TEXTS_AT_ONCE)])
        return Judged(nats, torch.tensor([len(line) - 1 for line in lines]))

    def _nats(self, lines: list[list[int]]) -> Tensor:
        longest = max(map(len, lines))
        valid = torch.tensor(
            [[1] * len(line) + [0] * (longest - len(line)) for line in lines], device=self.model.device
        )
        tokens = torch.tensor([line + [0] * (longest - len(line)) for line in lines], device=self.model.device)
        logits = self.model(input_ids=tokens, attention_mask=valid).logits[:, :-1].double()
        log_probabilities = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
        return -(log_probabilities * valid[:, 1:]).sum(1).cpu()


def load_causal_lm(path: Path, device: str) -> CausalLM:
    """Load a Hugging Face model from a local folder or a GGUF file, without any download.

    Raises:
        UserError: if there is no such model, or if it is not causal.
    """
    check_device(device)
    if not path.exists():
        raise UserError(f"{path} does not exist: give the folder of a causal language model, or a .gguf file")
    folder, options = path, dict[str, Any]()
    if path.suffix == ".gguf":
        folder, options = path.parent, {"gguf_file": path.name}
    model, tokenizer = load_pretrained(transformers.AutoModelForCausalLM, folder, **options)
    return CausalLM(model.to(device), tokenizer)
