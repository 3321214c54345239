"""A two-tower cloze model (Clark et al., 2020, section 2.3): every position's conditional from one pass.

    q(. | X_\\t) = softmax(W g(l_t, r_t))

One decoder reads X from the left up to t - 1, another from the right down to t + 1; both see the source. Electric's
own source of noise, for those who have no CMLM.
"""

from argparse import Namespace
from copy import deepcopy

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from torch import Tensor, nn


class TwoTowerCloze(nn.Module):
    """args: a transformer's, of which `noise_layers` is the depth of each tower."""

    def __init__(self, args: Namespace, dictionary: Dictionary, embeddings: nn.Embedding):
        super().__init__()
        cfg = deepcopy(TransformerConfig.from_namespace(args))
        cfg.decoder.layers = args.noise_layers
        cfg.share_decoder_input_output_embed = True  # the towers have no output layer of their own
        self.pad, self.bos = dictionary.pad(), dictionary.bos()
        self.towers = nn.ModuleList(TransformerDecoderBase(cfg, dictionary, embeddings) for _ in range(2))
        width = embeddings.embedding_dim
        self.join = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.LayerNorm(width))
        self.embeddings = [embeddings]  # the model's own, and no part of this module

    def forward(self, encoder_out: dict, tokens: Tensor) -> Tensor:
        """Logits of every symbol at every position: (B, T) long, padded -> (B, T, V)."""
        left, right = self.towers
        turned = self._turned(tokens)
        before = self._read(left, tokens, encoder_out)
        behind = self._read(right, tokens.gather(1, turned), encoder_out)
        behind = behind.gather(1, turned[..., None].expand_as(behind))
        return F.linear(self.join(torch.cat([before, behind], -1)), self.embeddings[0].weight)

    def _read(self, tower: TransformerDecoderBase, tokens: Tensor, encoder_out: dict) -> Tensor:
        """Features (B, T, D) of each position from those before it."""
        shifted = F.pad(tokens[:, :-1], (1, 0), value=self.bos)
        return tower.extract_features(shifted, encoder_out=encoder_out)[0]

    def _turned(self, tokens: Tensor) -> Tensor:
        """Where each position of a row read from its end is: its own inverse, padding staying where it is."""
        lengths, places = tokens.ne(self.pad).sum(1, keepdim=True), torch.arange(tokens.size(1), device=tokens.device)
        return torch.where(places < lengths, lengths - 1 - places, places)
